#!/usr/bin/env python3
"""A UDP hole puncher that keeps the testbed's contract, as short as it can be.

testbed/stacks/README.md explains every line.  It needs nothing but Python.
"""

import json
import os
import random
import select
import socket
import struct
import sys
import time

FRAME = struct.Struct("!4sBB16sIH")  # magic, kind, role, session, number, size of the payload
MAGIC, PROBE, ACK, DATA, BACK = b"\xf5tb1", 1, 2, 4, 5


def say(event, **fields):
    print(json.dumps({"event": event, "at": time.monotonic_ns(), **fields}), flush=True)


def endpoint(pair):
    return {"address": pair[0], "port": pair[1]}


def bound(address, port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    return sock


def observed(sock, server):
    """How the STUN server sees us; None if it does not answer."""
    request = struct.pack("!HHI", 1, 0, 0x2112A442) + os.urandom(12)
    for _ in range(4):
        sock.sendto(request, server)
        if select.select([sock], [], [], 0.5)[0]:
            answer, at = sock.recv(2048), 20
            while answer[8:20] == request[8:20] and at < len(answer):
                kind, size = struct.unpack_from("!HH", answer, at)
                if kind == 0x20:  # XOR-MAPPED-ADDRESS
                    port, address = struct.unpack_from("!HI", answer, at + 6)
                    dotted = socket.inet_ntoa(struct.pack("!I", address ^ 0x2112A442))
                    return dotted, port ^ 0x2112
                at += 4 + size + -size % 4
    return None


class Punch:
    def __init__(self, configure):
        self.mode = configure["options"]["mode"]
        self.role = ["dialer", "listener"].index(configure["role"])
        self.session, self.seed = bytes.fromhex(configure["session"]), configure["seed"]
        self.address = configure["local_address"]
        self.sock = bound(self.address, configure["port"])
        self.targets, self.asked, self.remote, self.back = [], {}, None, {}
        self.started = False  # until start_at nothing is sent, answers included

    def send(self, kind, number, to, payload=b""):
        head = FRAME.pack(MAGIC, kind, self.role, self.session, number, len(payload))
        self.sock.sendto(head + payload, to)

    def take(self):
        data, source = self.sock.recvfrom(2048)
        if len(data) < FRAME.size:
            return
        magic, kind, role, session, number, _ = FRAME.unpack_from(data)
        if not self.started or (magic, session, role) != (MAGIC, self.session, 1 - self.role):
            return  # too early, or a stranger
        if kind == PROBE:
            self.send(ACK, number, source)
            self.targets += [] if source in self.targets else [source]
        elif kind == ACK and self.asked.get(number) == source:
            self.remote = self.remote or source
        elif kind == DATA:
            self.send(BACK, number, source, data[FRAME.size :])
        elif kind == BACK:
            self.back[number] = data[FRAME.size :]

    def listen(self, seconds, enough=lambda: False):
        end = time.monotonic() + seconds
        while not enough() and (left := end - time.monotonic()) > 0:
            if select.select([self.sock], [], [], left)[0]:
                self.take()

    def dial(self, remote, start_at):
        calls = self.mode == "punch" or self.role == 0
        if self.mode == "silent":
            return say("failed", failure="not_attempted", reason="punching is off")
        if self.mode == "plain_dial" and self.role == 0:
            self.sock = bound(self.address, 0)
        self.targets = [(e["address"], e["port"]) for e in remote["addresses"]] if calls else []
        time.sleep(max(0, start_at - time.monotonic_ns()) / 1e9)
        self.started = True
        for number in range(60):  # 3 seconds
            for target in self.targets:
                probe = number * 16 + self.targets.index(target)
                self.asked[probe] = target
                self.send(PROBE, probe, target)
            self.listen(0.05, lambda: self.remote)
            if self.remote:
                ends = {"local": self.sock.getsockname(), "remote": self.remote}
                return say("connected", path="direct", **{k: endpoint(v) for k, v in ends.items()})
        return say("failed", failure="timeout", reason="no probe was answered")

    def echo(self, count, nonce):
        data = random.Random(self.seed).randbytes(count)
        pieces = [data[at : at + 1000] for at in range(0, count, 1000)]
        sent = {n: (nonce + one[len(nonce) :])[: len(one)] for n, one in enumerate(pieces)}
        intact = lambda: [n for n in sent if self.back.get(n) == sent[n]]  # noqa: E731
        for _ in range(5):
            for n in sent.keys() - set(intact()):
                self.send(DATA, n, self.remote, sent[n])
                self.listen(0.001)
            self.listen(0.5, lambda: len(intact()) == len(sent))
        say("echoed", bytes=sum(len(sent[n]) for n in intact()))


def main():
    punch, buffer = None, b""
    while True:
        if select.select([0, *([punch.sock] if punch else [])], [], [])[0][-1] != 0:
            punch.take()
            continue
        buffer += (more := os.read(0, 65536))
        *lines, buffer = buffer.split(b"\n")
        for command in map(json.loads, lines):
            if command["command"] == "configure":
                punch = Punch(command)
                say("listening", local=endpoint(punch.sock.getsockname()))
                server = (command["stun"]["address"], command["stun"]["port"])
                if mapped := observed(punch.sock, server):
                    say("observed", address=endpoint(mapped), server=endpoint(server))
                    offer = {"addresses": [endpoint(mapped)], "ice": None}
                    say("offer", offer=offer, accepts=["nonce"])
                else:
                    say("failed", failure="gathering", reason="the STUN server does not answer")
            elif command["command"] == "dial":
                punch.dial(command["remote"], command["start_at"])
            elif command["command"] == "echo":
                punch.echo(command["bytes"], bytes.fromhex(command.get("nonce", "")))
            elif command["command"] == "close":
                say("closed")
                return
        if not more:
            sys.exit("the testbed has gone")


if __name__ == "__main__":
    main()
