// The contract of testbed/stacks/contract.schema.json, version 2, as far as this peer needs it.

import { writeSync } from 'node:fs'

const VERSION = 2
const ECHO_LIMIT = 1 << 24
const LINE_LIMIT = 65536
const NONCE = /^[0-9a-f]{32}$/
export const NONCE_BYTES = 16 // that an echo begins with
const MEMBERS = {
  configure: [
    'version', 'role', 'transport', 'local_address', 'port', 'stun', 'turn', 'relays', 'observers',
    'session', 'seed', 'options'
  ],
  dial: ['remote', 'start_at'],
  echo: ['bytes'],
  close: []
}
const OPTIONAL = { configure: ['announce', 'extra_time'], echo: ['nonce'] }

/** A result, not an error of this program: there is no connection, and why. */
export class Failure extends Error {
  constructor (kind, reason) {
    super(reason)
    this.kind = kind
  }
}

/** The harness broke the contract. */
export class Breach extends Error {}

/** One line of stdin as a command; a Breach if it is none. */
export function parse (line) {
  if (line.length > LINE_LIMIT) {
    throw new Breach(`a line of ${line.length} characters`)
  }
  const command = object(line)
  const members = MEMBERS[command?.command]
  if (members == null) {
    throw new Breach(`not a command: ${line}`)
  }
  const optional = OPTIONAL[command.command] ?? []
  const given = Object.keys(command).filter(name => !optional.includes(name))
  const odd = new Set(['command', ...members]).symmetricDifference(new Set(given))
  if (odd.size > 0) {
    throw new Breach(`${command.command}: lacks, or has besides: ${[...odd].join(', ')}`)
  }
  if (command.command === 'configure' && command.version !== VERSION) {
    throw new Breach(`this peer speaks version ${VERSION} of the contract, not ${command.version}`)
  }
  if (command.command === 'echo' && !(command.bytes >= 1 && command.bytes <= ECHO_LIMIT)) {
    throw new Breach(`an echo of ${command.bytes} bytes`)
  }
  if (command.nonce != null && !NONCE.test(command.nonce)) {
    throw new Breach(`an echo with the nonce ${command.nonce}`)
  }
  return command
}

/** A deadline in ms, with what a world of long ways adds to it: whole, as AbortSignal wants it. */
export function longer ({ extra_time: seconds = 0 }, usual) {
  return Math.round(usual + 1000 * seconds)
}

function object (line) {
  try {
    return JSON.parse(line)
  } catch (error) {
    throw new Breach(`not a command: ${error.message}`)
  }
}

/** Tell of an event that happens now, or at the `at` of `more`. */
export function emit (event, more = {}) {
  writeSync(1, JSON.stringify({ event, at: now(), ...more }) + '\n')
}

/** Nanoseconds of CLOCK_MONOTONIC, which all peers share. */
export function now () {
  return Number(process.hrtime.bigint())
}

/** Nanoseconds of the wall clock, as fine as a double is: a quarter of a microsecond. */
export function realtime () {
  return Math.round((performance.timeOrigin + performance.now()) * 1e6)
}

/** Return at an instant of `now`, or at once if that is past. */
export async function until (instant) {
  await new Promise(resolve => setTimeout(resolve, Math.max(0, instant - now()) / 1e6))
}

/** Words that fit the contract. */
export function clipped (words) {
  return String(words).slice(0, 1000)
}
