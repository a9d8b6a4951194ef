// One session of the contract.

import { createHash } from 'node:crypto'
import { peerIdFromString } from '@libp2p/peer-id'
import { byteStream } from '@libp2p/utils'
import { multiaddr } from '@multiformats/multiaddr'
import { emit, Failure, longer, NONCE_BYTES, until } from './contract.mjs'
import { endpoint, newNode, newPublicNode, relayed } from './node.mjs'
import { Story } from './story.mjs'

const ECHO = '/testbed/echo/1.0.0'
// Milliseconds.
const MEET_DEADLINE = 5000 // of all public nodes, and of the reservation
const CIRCUIT_DEADLINE = 4000 // from `start_at` to the relayed connection
const ECHO_DEADLINE = 6000
const STOP_DEADLINE = 1000
// Who has not led by then was not told by identify that the other side offers DCUtR, or let it
// lead, and js-libp2p logs no end of that: three attempts take less.
const PATIENCE = 11000
const LIMITED = { runOnLimitedConnection: true } // a relayed connection will do, which has limits
const CODE_P2P = 421

export class Peer {
  #story = new Story()
  #configure
  #node
  #listening

  /** Be a public node: its addresses. */
  async serve (configure) {
    this.#node = await newPublicNode(configure)
    try {
      await this.#node.start()
    } catch (error) {
      throw new Failure('gathering', error.message)
    }
    return this.#node.getMultiaddrs().map(String)
  }

  /** Meet the public nodes; the offer. */
  async gather (configure) {
    refuse(configure)
    this.#configure = configure
    this.#listening = { address: configure.local_address, port: configure.port }
    const node = this.#node = await newNode(configure, this.#story.logger)
    await node.handle(ECHO, sendBack, LIMITED)
    try {
      await this.#meet(node, AbortSignal.timeout(longer(configure, MEET_DEADLINE)))
    } catch (error) {
      throw new Failure('gathering', error.message)
    }
    const multiaddrs = [configure.role === 'listener' ? this.#reserved() : `/p2p/${node.peerId}`]
    return { addresses: [], ice: null, multiaddrs }
  }

  /** Connect to the public nodes, and tell how they see us. */
  async #meet (node, signal) {
    const known = [...this.#configure.relays, ...this.#configure.observers]
    const seen = new Map(known.map(address => [peerOf(address), Promise.withResolvers()]))
    node.addEventListener('peer:identify', ({ detail }) => {
      const waits = seen.get(detail.peerId.toString())
      const address = endpoint(detail.observedAddr)
      if (waits != null && address != null) {
        emit('observed', { address, server: endpoint(detail.connection.remoteAddr) })
        waits.resolve()
      }
    })
    await node.start() // the listener reserves in it
    emit('listening', { local: this.#listening })
    await Promise.all(known.map(address => node.dial(multiaddr(address), { signal })))
    const all = Promise.all([...seen.values()].map(waits => waits.promise))
    await aborted(all, signal, 'a public node did not say how it sees us')
  }

  /** The address by which the relay lets us be dialed. */
  #reserved () {
    const [relay] = this.#configure.relays
    if (!this.#node.getMultiaddrs().some(relayed)) {
      throw new Failure('gathering', `${relay} gave no reservation`)
    }
    const circuit = `${relay}/p2p-circuit/p2p/${this.#node.peerId}`
    emit('reserved', { relay: endpoint(multiaddr(relay)), circuit })
    return circuit
  }

  /** Reach the other side through the relay, or wait to be reached: what `connected` says. */
  async dial ({ remote, start_at: start }) {
    if (remote.multiaddrs.length === 0) {
      throw new Failure('unsupported', 'the other side has no multiaddr')
    }
    const leads = this.#configure.role === 'listener'
    const other = peerIdFromString(peerOf(remote.multiaddrs[0]))
    this.#story.watch(this.#node, other, this.#listening, leads)
    await until(start)
    const signal = AbortSignal.timeout(longer(this.#configure, CIRCUIT_DEADLINE))
    const { promise } = this.#story.first
    try {
      if (!leads) {
        await this.#node.dial(remote.multiaddrs.map(text => multiaddr(text)), { signal })
      }
      return await aborted(promise, signal, 'no connection through the relay')
    } catch (error) {
      throw new Failure('timeout', error.message)
    }
  }

  /** Tell what became of the connection: `connected` has been said. */
  begin () {
    const silent = this.#configure.options.relay_only ? 'upgrades are off' : ''
    this.#story.begin(silent, longer(this.#configure, PATIENCE))
  }

  /** Send `count` bytes, the first of which are `nonce`'s, if there is one, over the best connection
   * there is: how many came back unaltered. */
  async echo ({ bytes: count, nonce = '' }) {
    const signal = AbortSignal.timeout(longer(this.#configure, ECHO_DEADLINE))
    const seed = String(this.#configure.seed)
    const data = createHash('shake128', { outputLength: count }).update(seed).digest()
    Buffer.from(nonce, 'hex').copy(data)
    try {
      const stream = await this.#story.best().newStream(ECHO, { ...LIMITED, signal })
      const bytes = byteStream(stream)
      const [back] = await Promise.all([
        bytes.read({ bytes: count, signal }), bytes.write(data, { signal })
      ])
      await stream.close({ signal })
      const came = back.subarray()
      return data.filter((byte, index) => byte === came[index]).length
    } catch (error) {
      throw new Failure('lost', `echo: ${error.message}`)
    }
  }

  /** Let go of everything, within a deadline: the exit takes along what is left. */
  async close () {
    this.#story.end()
    const late = new Promise(resolve => setTimeout(resolve, STOP_DEADLINE))
    await Promise.race([this.#node?.stop(), late])
  }
}

function refuse ({ options, relays, role }) {
  if (role !== 'dialer' && role !== 'listener') {
    throw new Failure('unsupported', `no role ${role}`)
  }
  if (options.mode !== 'punch') {
    throw new Failure('unsupported', `no mode ${options.mode}`)
  }
  if (relays.length === 0) {
    throw new Failure('unsupported', 'a relay is needed')
  }
}

/** The peer that an address ends in. */
function peerOf (address) {
  return multiaddr(address).getComponents().findLast(part => part.code === CODE_P2P)?.value ?? ''
}

/** What `promise` gives, or an Error of these words once `signal` is aborted. */
function aborted (promise, signal, words) {
  const { promise: ended, reject } = Promise.withResolvers()
  signal.addEventListener('abort', () => reject(new Error(words)))
  return Promise.race([promise, ended])
}

/** Send back all that comes, and tell what it begins with. */
async function sendBack (stream) {
  const bytes = byteStream(stream)
  let first = Buffer.alloc(0)
  for (let data; (data = await bytes.read()) != null;) {
    if (first.length < NONCE_BYTES) {
      first = Buffer.concat([first, data.subarray()])
      if (first.length >= NONCE_BYTES) {
        emit('heard', { nonce: first.toString('hex', 0, NONCE_BYTES) })
      }
    }
    await bytes.write(data)
  }
  await stream.close()
}
