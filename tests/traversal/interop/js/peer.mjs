// A js-libp2p node driven by JSON lines, for the wire checks of testbed.traversal.
//
// It prints {"id":..., "addrs":[...]} when it listens, then answers one line for each command
// line it reads: the same commands as the Go program beside it.

import { randomBytes } from 'node:crypto'
import { readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { autoNAT } from '@libp2p/autonat'
import { autoNATv2 } from '@libp2p/autonat-v2'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { identify, identifyPush } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { byteStream } from '@libp2p/utils'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const ECHO = '/testbed/echo/1.0.0'
const DEADLINE = 15_000 // ms of one command
const CODE_P2P = 421
const LIMITED = { runOnLimitedConnection: true }

function options () {
  const words = process.argv.slice(2).map(word => word.replace(/^-(?=[a-z])/, '--'))
  const text = { type: 'string' }
  const { values } = parseArgs({
    args: words,
    options: {
      listen: text,
      relay: { type: 'boolean' },
      duration: text, // seconds that a circuit may last, as "77s"
      data: text, // bytes that may pass
      security: text, // noise or tls alone, in place of both
      authority: text // a folder of ca.pem, cert.pem and key.pem for /tls/ws
    }
  })
  return values
}

async function start ({ listen, relay, duration, data, security, authority }) {
  const https = {}
  if (authority != null) {
    https.cert = readFileSync(join(authority, 'cert.pem'))
    https.key = readFileSync(join(authority, 'key.pem'))
  }
  const both = { noise: noise(), tls: tls() }
  const services = { identify: identify(), identifyPush: identifyPush(), ping: ping() }
  if (relay) {
    services.relay = circuitRelayServer({
      reservations: {
        defaultDurationLimit: parseInt(duration ?? '120') * 1000,
        defaultDataLimit: BigInt(data ?? 1 << 17)
      }
    })
  } else {
    Object.assign(services, { v1: autoNAT(), v2: autoNATv2() })
  }
  return createLibp2p({
    addresses: { listen: listen.split(',') },
    transports: [tcp(), webSockets({ https }), circuitRelayTransport()],
    connectionEncrypters: security == null ? Object.values(both) : [both[security]],
    connectionGater: { denyDialMultiaddr: () => false }, // addresses of this machine, too
    streamMuxers: [yamux()],
    services
  })
}

async function run (node, { cmd, addr, bytes, proto }) {
  const goal = multiaddr(addr)
  const peer = peerIdFromString(goal.getComponents().findLast(part => part.code === CODE_P2P).value)
  const signal = AbortSignal.timeout(DEADLINE)
  switch (cmd) {
    case 'connect':
      await identified(node, await node.dial(goal, { signal }), signal)
      return describe(node, peer)
    case 'identify':
      return describe(node, peer)
    case 'handle': // a new protocol, of which identify push tells
      await node.handle(proto, stream => stream.close())
      return {}
    case 'ping':
      return { rtt_us: 1000 * Math.max(await node.services.ping.ping(peer, { signal }), 0.001) }
    case 'echo':
      return echo(node, peer, bytes, signal)
    case 'reserve':
      await node.components.transportManager.listen([goal.encapsulate('/p2p-circuit')])
      return { addrs: node.getMultiaddrs().map(String).filter(text => text.includes('/p2p-circuit')) }
    default:
      throw new Error(`unknown command ${cmd}`)
  }
}

/** Until identify has told what the peer is. */
async function identified (node, connection, signal) {
  const known = await node.peerStore.get(connection.remotePeer).catch(() => null)
  if (known?.metadata.has('AgentVersion')) {
    return
  }
  await new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(new Error('it was not identified')))
    node.addEventListener('peer:identify', ({ detail }) => {
      if (detail.peerId.equals(connection.remotePeer)) {
        resolve()
      }
    })
  })
  await new Promise(resolve => setTimeout(resolve, 50)) // the store is written after the event
}

async function describe (node, peer) {
  const known = await node.peerStore.get(peer)
  const connections = node.getConnections(peer)
  return {
    protocols: known.protocols,
    agent: new TextDecoder().decode(known.metadata.get('AgentVersion')),
    connections: connections.map(one => one.remoteAddr.toString()),
    security: connections.map(one => one.encryption),
    limits: connections.map(one => one.limits == null
      ? null
      : { seconds: one.limits.seconds, bytes: Number(one.limits.bytes) }),
    addrs: known.addresses.map(one => one.multiaddr.toString()),
    certified: known.addresses.filter(one => one.isCertified).map(one => one.multiaddr.toString()),
    own_addrs: node.getMultiaddrs().map(String)
  }
}

async function echo (node, peer, count, signal) {
  const [connection] = node.getConnections(peer)
  const stream = await connection.newStream(ECHO, { ...LIMITED, signal })
  const pipe = byteStream(stream)
  const sent = randomBytes(count)
  const [back] = await Promise.all([pipe.read({ bytes: count, signal }), pipe.write(sent, { signal })])
  await stream.close({ signal })
  return { equal: sent.equals(Buffer.from(back.subarray())), bytes: back.byteLength }
}

async function sendBack (stream) {
  const pipe = byteStream(stream)
  for (let data; (data = await pipe.read()) != null;) {
    await pipe.write(data)
  }
  await stream.close()
}

function say (answer) {
  writeSync(1, JSON.stringify(answer) + '\n')
}

const node = await start(options())
await node.handle(ECHO, sendBack, LIMITED)
say({ id: node.peerId.toString(), addrs: node.getMultiaddrs().map(String) })
for await (const line of createInterface({ input: process.stdin })) {
  try {
    say(await run(node, JSON.parse(line)))
  } catch (error) {
    say({ error: error.message })
  }
}
process.exit()
