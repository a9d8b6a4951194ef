// js-libp2p as a peer: relayed first, then whatever @libp2p/dcutr makes of it.
//
// It speaks the testbed's contract on its standard streams, and words for humans on stderr.

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Breach, clipped, emit, Failure, parse } from './contract.mjs'
import { Peer } from './peer.mjs'

// What a command needs, and where it leads while it is carried out.
const ORDER = {
  configure: ['start', 'gathering'],
  dial: ['offered', 'dialing'],
  echo: ['connected', 'echoing']
}

const PUBLIC = ['relay', 'autonat_server']

/** Carry out a command, and tell what comes of it: the state after it. */
async function obey (peer, command) {
  try {
    switch (command.command) {
      case 'configure':
        if (PUBLIC.includes(command.role)) {
          emit('ready', { addresses: await peer.serve(command) })
          return 'serving'
        }
        emit('offer', { offer: await peer.gather(command), accepts: ['nonce'] })
        return 'offered'
      case 'dial':
        emit('connected', await peer.dial(command))
        peer.begin()
        return 'connected'
      default:
        emit('echoed', { bytes: await peer.echo(command) })
        return 'connected'
    }
  } catch (error) {
    if (!(error instanceof Failure)) {
      throw error
    }
    emit('failed', { failure: error.kind, reason: clipped(error.message) })
    return 'failed'
  }
}

/** Speak the contract until `close`. */
async function run () {
  const peer = new Peer()
  let at = 'start'
  for await (const line of createInterface({ input: process.stdin })) {
    const command = parse(line)
    if (command.command === 'close' && at !== 'start') {
      await peer.close()
      emit('closed')
      return
    }
    if (at === 'failed' && command.command in ORDER && command.command !== 'configure') {
      continue // it crossed our event, and is without effect
    }
    const [needed, next] = ORDER[command.command] ?? []
    if (needed !== at) {
      throw new Breach(`"${command.command}" is out of order`)
    }
    at = next
    obey(peer, command).then(after => { at = after }, die)
  }
  if (at === 'serving') {
    return
  }
  throw new Breach('the harness went away without a word')
}

function die (error) {
  console.error(error instanceof Breach ? error.message : error)
  process.exit(1)
}

function version () {
  const file = new URL('node_modules/libp2p/package.json', import.meta.url)
  return `js-libp2p ${JSON.parse(readFileSync(file)).version}`
}

const words = process.argv.slice(2)
if (words.length === 0) {
  run().then(() => process.exit(0), die)
} else if (words.length === 1 && words[0] === '--version') {
  console.log(version())
} else {
  console.error('usage: js-libp2p [--version]')
  process.exit(1)
}
