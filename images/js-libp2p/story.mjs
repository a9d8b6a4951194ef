// The contract's events, made of what js-libp2p tells: its connections, and what the
// component of DCUtR logs, which has no events of its own.

import { emit, clipped, now, realtime } from './contract.mjs'
import { endpoint, localEnd, relayed } from './node.mjs'

const DCUTR = 'libp2p:dcutr'
const PROTOCOL = '/libp2p/dcutr'
const ATTEMPTS = 3 // that the listener makes: the default of `retries`

// How the component's words begin, and what has happened by then.  B is the listener.  (One
// line of B's says "A" by mistake.)
const STEPS = {
  'B sending connect': ['connect_sent'],
  'A sending sync': ['connect_received', 'sync_sent'],
  'B dialing': ['punching'],
  'A sending connect': ['connect_received', 'connect_sent'],
  'A dialing': ['sync_received', 'punching'],
  'A did not have any dialable': ['connect_received'],
  'B had no dialable': ['connect_received']
}
const BEGINS = ['B sending connect', 'A receiving connect']
const FAILED = 'error while attempting DCUtR'
const REFUSED = 'B had no dialable'

export class Story {
  #remote
  #node
  #listening
  #leads = false
  #waiting = [] // events from before `connected` was said
  #begun = false
  #attempt = 0
  #punching = false
  #told = false // `upgraded` or `stayed` was said
  #over = false // `close` was read: it is not js-libp2p that closes connections now

  constructor () {
    this.first = Promise.withResolvers() // what `connected` says
  }

  /** A ComponentLogger that listens to one component and is silent of the others. */
  get logger () {
    const silent = Object.assign(() => {}, { error () {}, trace () {}, enabled: false })
    silent.newScope = () => silent
    const hears = Object.assign(
      words => this.#logged(words),
      { error: (words, ...more) => this.#wrong(words, more), trace () {}, enabled: true }
    )
    hears.newScope = () => silent
    return { forComponent: name => name === DCUTR ? hears : silent }
  }

  /** Begin to look for connections to the other peer; `leads`: we are the listener. */
  watch (node, remote, listening, leads) {
    this.#node = node
    this.#remote = remote
    this.#listening = listening
    this.#leads = leads
    node.addEventListener('connection:open', ({ detail }) => this.#opened(detail))
    node.addEventListener('connection:close', ({ detail }) => this.#closed(detail))
    node.addEventListener('peer:identify', ({ detail }) => this.#identified(detail))
  }

  /** Say what was kept back; `silent` is why js-libp2p will not say more, `patience` in ms. */
  begin (silent, patience) {
    if (silent !== '') {
      this.#stayed(silent)
    }
    setTimeout(() => this.#stayed(`nothing came of it in ${patience / 1000} s`), patience).unref()
    this.#begun = true
    this.#waiting.splice(0).forEach(([name, more]) => emit(name, more))
  }

  /** Told before the node is stopped. */
  end () {
    this.#over = true
  }

  /** The connection to the other peer that no relay carries, or the one that a relay does. */
  best () {
    const all = this.#node.getConnections(this.#remote).filter(one => one.status === 'open')
    return all.find(one => !relayed(one.remoteAddr)) ?? all[0]
  }

  #say (name, more) {
    const event = { at: now(), ...more }
    if (this.#begun) {
      emit(name, event)
    } else {
      this.#waiting.push([name, event])
    }
  }

  #step (name) {
    this.#say('step', { name, attempt: this.#attempt, realtime: realtime() })
  }

  #stayed (reason) {
    if (!this.#told) {
      this.#told = true
      this.#say('stayed', { reason: clipped(reason) })
    }
  }

  // -- connections

  #opened (connection) {
    if (!connection.remotePeer.equals(this.#remote)) {
      return
    }
    const remote = endpoint(connection.remoteAddr)
    if (relayed(connection.remoteAddr)) {
      this.first.resolve({ at: now(), local: this.#listening, remote, path: 'relayed' })
    } else if (!this.#told) {
      this.#told = true
      const local = localEnd(connection, this.#listening)
      const how = this.#punching ? 'punched' : this.#plain(connection)
      this.#say('upgraded', { local, remote, how, attempts: this.#punching ? this.#attempt : 0 })
    }
  }

  /** Without a punch: which side has dialed. */
  #plain ({ direction }) {
    const byUs = direction === 'outbound'
    return byUs === this.#leads ? 'reversed' : 'direct'
  }

  #closed (connection) {
    if (connection.remotePeer.equals(this.#remote) && relayed(connection.remoteAddr) && !this.#over) {
      this.#step('relay_left')
    }
  }

  /** Who does not speak DCUtR is not asked, and nothing more is logged. */
  #identified ({ peerId, protocols }) {
    if (this.#leads && peerId.equals(this.#remote) && !protocols.includes(PROTOCOL)) {
      this.#stayed('the other side does not offer DCUtR')
    }
  }

  // -- the component's log

  #logged (words) {
    if (BEGINS.some(start => words.startsWith(start))) {
      this.#attempt += 1
      this.#punching = false
    }
    const known = Object.keys(STEPS).find(start => words.startsWith(start))
    for (const name of STEPS[known] ?? []) {
      this.#step(name)
    }
    this.#punching ||= STEPS[known]?.includes('punching') ?? false
    if (words.startsWith(REFUSED)) {
      this.#step('failed')
    }
  }

  #wrong (words, more) {
    if (words.startsWith(FAILED)) {
      this.#step('failed')
      if (this.#attempt === ATTEMPTS) {
        this.#stayed(`the last of ${ATTEMPTS} attempts: ${more.at(-1)?.message}`)
      }
    }
  }
}
