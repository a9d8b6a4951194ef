"""Peers that each break the contract in one way: ``peer_zoo.py KIND``.

They are the example, tests/example/my_puncher.py, with one thing changed.
"""

import atexit
import json
import os
import random
import sys
import time
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1] / "example"))
import my_puncher
from my_puncher import BACK, DATA, FRAME, MAGIC, Punch, endpoint

plain_say, plain_send, plain_dial, plain_take = (
    my_puncher.say,
    Punch.send,
    Punch.dial,
    Punch.take,
)
HERE = ("127.0.0.1", 9)
BREAKS = {}


def breaks(function):
    """A way of being broken, by its name."""
    BREAKS[function.__name__] = function
    return function


def on(event, do):
    """At this event do that instead of saying it."""

    def say(name, **fields):
        if name == event:
            do(fields)
        else:
            plain_say(name, **fields)

    my_puncher.say = say


def write(text):
    os.write(1, text.encode())


def changed(event, **more):
    on(event, lambda fields: plain_say(event, **{**fields, **more}))


@breaks
def chatty():
    print("my-peer 1.0 is starting", flush=True)


@breaks
def listing():
    print("[1, 2]", flush=True)


@breaks
def long_winded():
    write(json.dumps({"event": "stayed", "at": 1, "reason": "x" * 70000}) + "\n")


@breaks
def cut_off():
    on("closed", lambda _: (plain_say("closed"), write('{"event": '), sys.exit(0)))


@breaks
def inventive():
    write(json.dumps({"event": "hello", "at": time.monotonic_ns()}) + "\n")


@breaks
def forgetful():
    on("listening", lambda _: plain_say("listening"))


@breaks
def generous():
    changed("listening", comment="mine")


@breaks
def wordy():
    changed("listening", local="here:4001")


@breaks
def nil():
    """As a Go slice is written that nobody made."""
    on("offer", lambda f: plain_say("offer", offer={**f["offer"], "multiaddrs": None}))


@breaks
def hasty():
    on("listening", lambda _: plain_say("closed"))


@breaks
def double():
    on("offer", lambda f: (plain_say("offer", **f), plain_say("offer", **f)))


@breaks
def mute():
    on("offer", lambda _: None)


@breaks
def mute_dial():
    Punch.dial = lambda *_: None


@breaks
def mute_echo():
    Punch.echo = lambda *_: None


@breaks
def buffered():
    held = []  # as C's stdio does with a pipe, and Python unless PYTHONUNBUFFERED is set
    atexit.register(lambda: write("".join(held)))

    def say(event, **fields):
        held.append(json.dumps({"event": event, "at": time.monotonic_ns(), **fields}) + "\n")

    my_puncher.say = say


@breaks
def wall_clock():
    def say(event, **fields):
        plain_say(event, **{"at": time.time_ns(), **fields})

    my_puncher.say = say


@breaks
def milliseconds():
    def say(event, **fields):
        plain_say(event, **{"at": time.monotonic_ns() // 1_000_000, **fields})

    my_puncher.say = say


@breaks
def impatient():
    Punch.dial = lambda self, remote, _: plain_dial(self, remote, 0)


@breaks
def eager():
    """It answers, before it may."""

    def take(self):
        self.started = True
        plain_take(self)

    def dial(self, remote, start_at):
        while time.monotonic_ns() < start_at:
            self.listen(0.01)
        plain_dial(self, remote, start_at)

    Punch.take, Punch.dial = take, dial


@breaks
def crashing():
    on("offer", lambda _: sys.exit("the peer is broken"))


@breaks
def crashing_dial():
    def dial(*_):
        raise RuntimeError("the peer is broken")

    Punch.dial = dial


@breaks
def deaf_to_close():
    on("closed", lambda _: time.sleep(600))


@breaks
def talkative():
    on("closed", lambda _: (plain_say("closed"), plain_say("closed")))


@breaks
def lingering():
    on("closed", lambda _: (plain_say("closed"), time.sleep(600)))


@breaks
def ungraceful():
    on("closed", lambda _: (plain_say("closed"), sys.exit(3)))


@breaks
def orphan():
    plain_exit = sys.exit
    sys.exit = lambda words: time.sleep(600) if words else plain_exit()


@breaks
def elsewhere():
    bound = my_puncher.bound
    my_puncher.bound = lambda address, port: bound(address, port and port + 1)


@breaks
def mistaken():
    changed("observed", address=endpoint(HERE))


@breaks
def empty():
    changed("offer", offer={"addresses": [], "ice": None})


@breaks
def lying():
    changed("offer", offer={"addresses": [endpoint(HERE)], "ice": None})


@breaks
def lame():
    Punch.dial = lambda *_: my_puncher.say("failed", failure="timeout", reason="it is too far")


@breaks
def boasting():
    Punch.dial = lambda self, *_: my_puncher.say(
        "connected",
        path="direct",
        local=endpoint(self.sock.getsockname()),
        remote=endpoint(self.sock.getsockname()),
    )


@breaks
def relaying():
    changed("connected", path="relayed")


@breaks
def astray():
    changed("connected", remote=endpoint(HERE))


@breaks
def loud():
    def dial(self, *words):
        self.mode = "punch"
        plain_dial(self, *words)

    Punch.dial = dial


@breaks
def misnamed():
    changed("failed", failure="lost")


@breaks
def modest():
    on("echoed", lambda fields: plain_say("echoed", bytes=fields["bytes"] // 2))


@breaks
def proud():
    on("echoed", lambda fields: plain_say("echoed", bytes=fields["bytes"] + 1))


@breaks
def idle():
    """It says that all came back, and has sent nothing."""
    Punch.echo = lambda _, count, _nonce: my_puncher.say("echoed", bytes=count)


def sending(change):
    def send(self, kind, number, to, payload=b""):
        change(self, kind, number, to, payload)

    Punch.send = send


@breaks
def keeping():
    sending(lambda s, k, n, to, p: None if k == BACK else plain_send(s, k, n, to, p))


@breaks
def altering():
    sending(lambda s, k, n, to, p: plain_send(s, k, n, to, p[::-1] if k == BACK else p))


@breaks
def garbled():
    sending(lambda s, _k, _n, to, _p: s.sock.sendto(b"hello", to))


@breaks
def estranged():
    def send(self, kind, number, to, payload):
        head = FRAME.pack(MAGIC, kind, self.role, bytes(16), number, len(payload))
        self.sock.sendto(head + payload, to)

    sending(send)


@breaks
def mirrored():
    def send(self, kind, number, to, payload):
        head = FRAME.pack(MAGIC, kind, 1 - self.role, self.session, number, len(payload))
        self.sock.sendto(head + payload, to)

    sending(send)


def echo_by(size, rounds=2, *, heeds=True):
    def echo(self, count, nonce):
        data = random.Random(self.seed).randbytes(count)
        known = nonce if heeds else b""
        for _ in range(rounds):
            for number, at in enumerate(range(0, count, size)):
                if number not in self.back:
                    piece = (known + data[at + len(known) :])[:size]
                    self.send(DATA, number, self.remote, piece)
                    self.listen(0.001)
            self.listen(0.3)
        my_puncher.say("echoed", bytes=sum(map(len, self.back.values())))

    Punch.echo = echo


@breaks
def tiny():
    """And it accepts no nonce, by which short frames would be known."""
    changed("offer", accepts=[])
    echo_by(100)


@breaks
def heedless():
    echo_by(1000, heeds=False)


@breaks
def huge():
    echo_by(1400)


@breaks
def forgetting():
    """What is lost stays lost."""
    echo_by(1000, rounds=1)


@breaks
def tardy():
    Punch.dial = lambda self, remote, start_at: plain_dial(self, remote, start_at + 200_000_000)


@breaks
def hopeless():
    my_puncher.range = lambda *_: (0, 1)  # two rounds of probes, 50 ms each


class Lax:
    """Reads headers as if what they say were right."""

    size, pack = FRAME.size, FRAME.pack

    def __init__(self, right):
        self.right = right

    def unpack_from(self, data):
        magic, kind, role, session, number, size = FRAME.unpack_from(data)
        return (magic, kind, *self.right(role, session), number, size)


def reading(right):
    def take(self):
        my_puncher.FRAME = Lax(lambda *said: right(self, *said))
        plain_take(self)

    Punch.take = take


@breaks
def promiscuous():
    reading(lambda self, role, _session: (role, self.session))


@breaks
def narcissistic():
    reading(lambda self, _role, session: (1 - self.role, session))


@breaks
def gullible():
    class Anywhere(dict):
        """Every address is the one that a probe went to."""

        def get(self, number):
            return mock.ANY if number in self else None

    def take(self):
        self.asked = Anywhere(self.asked)
        plain_take(self)

    Punch.take = take


if __name__ == "__main__":
    BREAKS[sys.argv[1]]()
    my_puncher.main()
