// The libp2p node of a peer, and the addresses of its connections.

import { createHash } from 'node:crypto'
import { readFileSync, readdirSync, readlinkSync } from 'node:fs'
import { quic } from '@chainsafe/libp2p-quic'
import { autoNAT } from '@libp2p/autonat'
import { autoNATv2 } from '@libp2p/autonat-v2'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { dcutr } from '@libp2p/dcutr'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { longer } from './contract.mjs'

// Of the unilateral dial and of each of three attempts: a failing pair ends within four of these.
const UPGRADE_TIMEOUT = 2000 // ms; the default is 5000, longer than the harness waits for four
const CODE_CIRCUIT = 290
const CODE_IP4 = 4
const CODE_TCP = 6
const CODE_UDP = 273
const TCP_ESTABLISHED = '01'

/** A node behind a NAT, not yet started; `logger` is told what its components do. */
export async function newNode (configure, logger) {
  const listen = [listenAddress(configure)]
  if (configure.role === 'listener') {
    listen.push(`${configure.relays[0]}/p2p-circuit`)
  }
  const services = configure.options.relay_only ? {} : { dcutr: dcutr({ timeout: longer(configure, UPGRADE_TIMEOUT) }) }
  return createLibp2p({ ...await common(configure, services), addresses: { listen }, logger })
}

/** A public node, not yet started. */
export async function newPublicNode (configure) {
  const address = listenAddress(configure)
  const reached = listenAddress({ ...configure, ...outside(configure) })
  // Only what AutoNAT has verified is told to others, unless it is announced.
  const addresses = { listen: [address], announce: [reached] }
  const services = configure.role === 'relay'
    ? { relay: circuitRelayServer() }
    : { v1: autoNAT(), v2: autoNATv2() }
  return createLibp2p({ ...await common(configure, services), addresses })
}

/** What all nodes here have: one transport, an identity, and the relay's client. */
async function common ({ session, role, transport }, services) {
  const seed = createHash('sha256').update(session + role).digest()
  return {
    start: false,
    privateKey: await generateKeyPairFromSeed('Ed25519', seed),
    transports: [transport === 'udp' ? quic() : tcp(), circuitRelayTransport()],
    connectionEncrypters: [noise()], // of circuits, too, whatever carries them
    streamMuxers: [yamux()],
    services: { identify: identify(), ping: ping(), ...services } // ours proves connections by ping
  }
}

/** Where others reach a public node: behind a NAT, not at its own address. */
function outside ({ announce }) {
  return announce == null ? {} : { local_address: announce.address, port: announce.port }
}

function listenAddress ({ local_address: local, port, transport }) {
  return `/ip4/${local}/${transport === 'udp' ? `udp/${port}/quic-v1` : `tcp/${port}`}`
}

/** The IPv4 address and port that a multiaddr begins with; of a circuit, the relay's. */
export function endpoint (address) {
  const parts = address?.getComponents() ?? []
  const port = parts.find(part => part.code === CODE_TCP || part.code === CODE_UDP)
  if (parts[0]?.code !== CODE_IP4 || port == null) {
    return undefined
  }
  return { address: parts[0].value, port: Number(port.value) }
}

/** Whether an address is a circuit's. */
export function relayed (address) {
  return address.getComponents().some(part => part.code === CODE_CIRCUIT)
}

/**
 * The local end of a direct connection, which libp2p does not tell: the kernel does, of
 * this network namespace.  `listening` is where the node listens.
 */
export function localEnd (connection, listening) {
  if (connection.direction === 'inbound') {
    return listening
  }
  const remote = endpoint(connection.remoteAddr)
  const overUdp = connection.remoteAddr.getComponents().some(part => part.code === CODE_UDP)
  for (const { local, distant, state } of sockets(overUdp ? 'udp' : 'tcp')) {
    const dials = overUdp
      ? local.port !== listening.port // one socket dials, another listens
      : state === TCP_ESTABLISHED && distant.address === remote.address && distant.port === remote.port
    if (dials) {
      return { address: listening.address, port: local.port }
    }
  }
  return listening
}

/**
 * The lines of /proc/self/net/{tcp,udp} (proc(5)) that are this process's: the namespace has others,
 * as that of a tunnel of the kernel's.
 */
function sockets (kind) {
  const lines = readFileSync(`/proc/self/net/${kind}`, 'ascii').trim().split('\n').slice(1)
  const mine = inodes()
  return lines.map(line => line.trim().split(/\s+/)).filter(fields => mine.has(fields[9])).map(fields => {
    const [, local, distant, state] = fields
    return { local: hexadecimal(local), distant: hexadecimal(distant), state }
  })
}

/** Of all sockets of this process. */
function inodes () {
  const found = new Set()
  for (const descriptor of readdirSync('/proc/self/fd')) {
    try {
      const socket = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${descriptor}`))
      if (socket) {
        found.add(socket[1])
      }
    } catch {} // the one by which the folder was read
  }
  return found
}

/** 0200000A:0FA1 is 10.0.0.2:4001: the address in the host's order, which is little-endian here. */
function hexadecimal (text) {
  const [address, port] = text.split(':')
  const bytes = [...Buffer.from(address, 'hex')].reverse()
  return { address: bytes.join('.'), port: parseInt(port, 16) }
}
