#!/usr/bin/env node
// The puncher of my_puncher.py once more, in JavaScript: Node.js and nothing besides.
import dgram from "node:dgram";
import { randomBytes } from "node:crypto";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

const MAGIC = Buffer.from("f5746231", "hex"), COOKIE = 0x2112a442;
const [PROBE, ACK, DATA, BACK] = [1, 2, 4, 5];
const ROLES = ["dialer", "listener"];
const now = () => Number(process.hrtime.bigint()); // CLOCK_MONOTONIC, as Node uses it on Linux
const say = (event, fields = {}) =>
  process.stdout.write(JSON.stringify({ event, at: now(), ...fields }) + "\n");
const same = (a, b) => a.address === b.address && a.port === b.port;

let told, socket, onStun; // what `configure` said; where frames come and go; a STUN answer's taker
let targets = [], remote = null, started = false;
const asked = new Map(), back = new Map();

function bind(port) {
  const made = dgram.createSocket("udp4");
  made.on("message", (data, { address, port }) => take(data, { address, port }));
  return new Promise((ready) => made.bind(port, told.local_address, () => ready(made)));
}

const local = () => ({ address: socket.address().address, port: socket.address().port });

function send(kind, number, to, payload = Buffer.alloc(0)) {
  const head = Buffer.alloc(28);
  MAGIC.copy(head);
  head.writeUInt8(kind, 4);
  head.writeUInt8(ROLES.indexOf(told.role), 5);
  head.write(told.session, 6, "hex");
  head.writeUInt32BE(number, 22);
  head.writeUInt16BE(payload.length, 26);
  socket.send(Buffer.concat([head, payload]), to.port, to.address);
}

function take(data, from) {
  if (data.length >= 20 && data.readUInt16BE(0) === 0x0101) return onStun?.(data);
  const ours = data.length >= 28 && data.subarray(0, 4).equals(MAGIC) &&
    data.toString("hex", 6, 22) === told.session && ROLES[data[5]] !== told.role;
  if (!started || !ours) return;
  const kind = data[4], number = data.readUInt32BE(22), payload = data.subarray(28);
  if (kind === PROBE) {
    if (!targets.some((one) => same(one, from))) targets.push(from);
    send(ACK, number, from);
  } else if (kind === ACK && asked.has(number) && same(asked.get(number), from)) remote ??= from;
  else if (kind === DATA) send(BACK, number, from, payload);
  else if (kind === BACK) back.set(number, payload);
}

async function observed() {
  const request = Buffer.concat([Buffer.from("000100002112a442", "hex"), randomBytes(12)]);
  let mapped = null;
  onStun = (answer) => {
    if (!answer.subarray(8, 20).equals(request.subarray(8))) return;
    for (let at = 20; at + 12 <= answer.length; ) {
      const size = answer.readUInt16BE(at + 2);
      if (answer.readUInt16BE(at) === 0x20) { // XOR-MAPPED-ADDRESS
        const bytes = answer.subarray(at + 8, at + 12).map((b, i) => b ^ (COOKIE >>> (24 - 8 * i)));
        mapped = { address: bytes.join("."), port: answer.readUInt16BE(at + 6) ^ 0x2112 };
      }
      at += 4 + size + (-size & 3);
    }
  };
  for (let tries = 0; !mapped && tries < 4; tries++) {
    socket.send(request, told.stun.port, told.stun.address);
    for (const due = now() + 500e6; !mapped && now() < due; ) await sleep(10);
  }
  return mapped;
}

async function configure(command) {
  told = command;
  socket = await bind(told.port);
  say("listening", { local: local() });
  const address = await observed();
  if (!address) return say("failed", { failure: "gathering", reason: "no answer from STUN" });
  say("observed", { address, server: told.stun });
  say("offer", { offer: { addresses: [address], ice: null }, accepts: ["nonce"] });
}

async function dial({ remote: offer, start_at }) {
  const { mode } = told.options, dialer = told.role === "dialer";
  if (mode === "silent") return say("failed", { failure: "not_attempted", reason: "it is off" });
  if (mode === "plain_dial" && dialer) socket = await bind(0);
  targets = mode === "punch" || dialer ? [...offer.addresses] : [];
  await sleep(Math.max(0, (start_at - now()) / 1e6));
  while (now() < start_at) await sleep(1); // a timer counts whole milliseconds and may be early
  started = true;
  for (const end = now() + 3e9; !remote && now() < end; ) { // 3 seconds, however busy the machine
    for (const target of targets) {
      asked.set(asked.size, target);
      send(PROBE, asked.size - 1, target);
    }
    for (const due = now() + 50e6; !remote && now() < due; ) await sleep(5);
  }
  if (!remote) return say("failed", { failure: "timeout", reason: "no probe was answered" });
  say("connected", { path: "direct", local: local(), remote });
}

async function echo({ bytes, nonce = "" }) {
  const data = randomBytes(bytes), pieces = [];
  for (let at = 0; at < bytes; at += 1000) pieces.push(data.subarray(at, at + 1000));
  for (const piece of pieces) Buffer.from(nonce, "hex").copy(piece);
  const intact = (n) => back.get(n)?.equals(pieces[n]);
  for (let round = 0; round < 5 && !pieces.every((_, n) => intact(n)); round++) {
    for (const [n, piece] of pieces.entries()) {
      if (!intact(n)) send(DATA, n, remote, piece);
      await sleep(1);
    }
    for (const due = now() + 500e6; now() < due && !pieces.every((_, n) => intact(n)); ) await sleep(10);
  }
  say("echoed", { bytes: pieces.reduce((sum, piece, n) => sum + (intact(n) ? piece.length : 0), 0) });
}

const obey = { configure, dial, echo };
const lines = createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const command = JSON.parse(line);
  if (command.command !== "close") return obey[command.command](command);
  say("closed");
  process.stdout.write("", () => process.exit(0)); // once all of it is written
});
lines.on("close", () => process.exit(1)); // the testbed has gone
