#!/usr/bin/env python3
"""A small UDP hole puncher: the program of this project, and what its tests are about.

It speaks the testbed's contract (testbed/peers/contract.schema.json): a line of JSON for
each command on stdin, and one for each event on stdout.  It needs nothing of the testbed,
only Python, and could be in any language.
"""

import json
import os
import random
import select
import socket
import struct
import sys
import time

FRAME = struct.Struct("!4sBB16sIH")  # magic, kind, role, session, number, length
MAGIC, PROBE, ACK, DATA, BACK = b"\xf5tb1", 1, 2, 4, 5
STUN = struct.Struct("!HHI12s")
COOKIE = 0x2112A442
EVERY, PATIENCE = 0.05, 3.0  # seconds: from probe to probe, and for all
PIECE = 1000  # bytes of a datagram


class Harness:
    """The testbed, at the other end of our standard streams."""

    def __init__(self):
        self.buffer = b""

    def command(self):
        """The next one that is complete, or None for now."""
        line, newline, rest = self.buffer.partition(b"\n")
        if newline:
            self.buffer = rest
            return json.loads(line)
        return None

    def read(self):
        more = os.read(0, 65536)
        if not more:
            sys.exit("the testbed has gone")
        self.buffer += more

    def say(self, event, **fields):
        print(json.dumps({"event": event, "at": time.monotonic_ns(), **fields}), flush=True)


def endpoint(address):
    return {"address": address[0], "port": address[1]}


class Puncher:
    """One session: learn our address, tell it, probe, and echo."""

    def __init__(self, harness):
        self.harness = harness
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.targets = []
        self.remote = None
        self.back = set()  # numbers of what came back

    def run(self):
        while (command := self.harness.command()) is None:
            self.harness.read()
        self.configured(command)
        while True:
            command = self.harness.command()
            if command is None:
                self.wait(1.0)
            elif command["command"] == "close":
                self.harness.say("closed")
                return
            else:
                {"dial": self.dial, "echo": self.echo}[command["command"]](command)

    def configured(self, command):
        self.role = ("dialer", "listener").index(command["role"])
        self.session = bytes.fromhex(command["session"])
        self.seed = command["seed"]
        self.socket.bind((command["local_address"], command["port"]))
        self.harness.say("listening", local=endpoint(self.socket.getsockname()))
        server = (command["stun"]["address"], command["stun"]["port"])
        mapped = self.observed(server)
        if mapped is None:
            self.fail("gathering", "the STUN server does not answer")
            return
        self.harness.say("observed", address=endpoint(mapped), server=endpoint(server))
        self.harness.say("offer", offer={"addresses": [endpoint(mapped)], "ice": None})

    def observed(self, server):
        """How the STUN server sees us (RFC 8489)."""
        transaction = os.urandom(12)
        for _ in range(6):
            self.socket.sendto(STUN.pack(1, 0, COOKIE, transaction), server)
            if select.select([self.socket], [], [], 0.5)[0]:
                data = self.socket.recv(2048)
                at = STUN.size
                while data[8:20] == transaction and at + 12 <= len(data):
                    kind, size = struct.unpack_from("!HH", data, at)
                    if kind == 0x0020:  # XOR-MAPPED-ADDRESS
                        port, address = struct.unpack_from("!2xHI", data, at + 4)
                        dotted = socket.inet_ntoa(struct.pack("!I", address ^ COOKIE))
                        return dotted, port ^ (COOKIE >> 16)
                    at += 4 + size + -size % 4
        return None

    def dial(self, command):
        self.targets = [(to["address"], to["port"]) for to in command["remote"]["addresses"]]
        time.sleep(max(0, command["start_at"] - time.monotonic_ns()) / 1e9)
        end, number = time.monotonic() + PATIENCE, 0
        while self.remote is None and time.monotonic() < end:
            for target in self.targets:
                self.send(PROBE, number, target)
            number += 1
            due = time.monotonic() + EVERY
            while self.remote is None and time.monotonic() < due:
                self.wait(due - time.monotonic())
        if self.remote is None:
            self.fail("timeout", "nobody answers")
            return
        ends = {"local": self.socket.getsockname(), "remote": self.remote}
        told = {name: endpoint(address) for name, address in ends.items()}
        self.harness.say("connected", path="direct", **told)

    def echo(self, command):
        data = random.Random(self.seed).randbytes(command["bytes"])
        pieces = [data[at : at + PIECE] for at in range(0, len(data), PIECE)]
        for _ in range(5):
            missing = [n for n in range(len(pieces)) if n not in self.back]
            for number in missing:
                self.send(DATA, number, self.remote, pieces[number])
                self.wait(0.001)
            end = time.monotonic() + 0.5
            while len(self.back) < len(pieces) and time.monotonic() < end:
                self.wait(end - time.monotonic())
        self.harness.say("echoed", bytes=sum(len(pieces[number]) for number in self.back))

    def wait(self, seconds):
        """Until a datagram or a command comes; take what it is."""
        ready = select.select([self.socket, 0], [], [], max(0, seconds))[0]
        if 0 in ready:
            self.harness.read()
        if self.socket in ready:
            self.received(*self.socket.recvfrom(2048))

    def received(self, data, source):
        if len(data) < FRAME.size or not self.targets:
            return
        magic, kind, role, session, number, _ = FRAME.unpack_from(data)
        if (magic, session, role) != (MAGIC, self.session, 1 - self.role):
            return
        if kind == PROBE:
            if source not in self.targets:
                self.targets.append(source)
            self.send(ACK, number, source)
        elif kind == ACK:
            self.remote = self.remote or source
        elif kind == DATA:
            self.send(BACK, number, source, data[FRAME.size :])
        elif kind == BACK:
            self.back.add(number)

    def send(self, kind, number, target, payload=b""):
        head = FRAME.pack(MAGIC, kind, self.role, self.session, number, len(payload))
        self.socket.sendto(head + payload, target)

    def fail(self, failure, reason):
        self.harness.say("failed", failure=failure, reason=reason)


if __name__ == "__main__":
    Puncher(Harness()).run()
