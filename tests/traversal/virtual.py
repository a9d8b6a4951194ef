"""Two connections in memory and in virtual time: hours of patience pass in milliseconds."""

import asyncio
import math
import random
import selectors
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast

from testbed.traversal import Multiaddr, PeerId, PrivateKey, tls_certificate, yamux
from testbed.traversal.aio import quic_engine
from testbed.traversal.aio.connection import Connection, Direction
from testbed.traversal.aio.muxed import MuxedConnection
from testbed.traversal.aio.quic import QuicEndpoint
from testbed.traversal.aio.quic_timers import QuicTimers
from testbed.traversal.noise import Channel

_TURN = 1e-6  # seconds that a turn of the loop takes: a clock that stands still is none
KEYS = tuple(PrivateKey.from_seed(bytes([n]) * 32) for n in (1, 2))
PEERS = tuple(PeerId.from_public_key(key.public) for key in KEYS)


_LONGEST = 100_000.0  # seconds of its clock; no test means to wait so long


class StuckError(Exception):
    """Nothing will ever happen any more, and somebody still waits."""


class _Jump(selectors.SelectSelector):
    """Instead of waiting it moves the loop's clock on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        # Keepalives go on for ever, and the loop swallows a timeout that falls into a callback.
        self._end = _LONGEST

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise StuckError("no timer, and nobody to wake anyone")
        self.now += max(_TURN, timeout)
        if self.now > self._end:
            self._end = math.inf  # told once: the tasks are still to be cancelled
            raise StuckError(f"nothing came to an end in {_LONGEST:g} s")
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time passes only when everyone waits."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def run_virtual(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run to the end.  Raises StuckError, or what the work raises; no task is left either way."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work())


@dataclass
class Link:
    """Both ways: seconds of delay, bytes a second (0: no limit), the share of lost datagrams.

    A datagram's delay is longer by up to `jitter`, a share of it.  What is beyond `longest` bytes
    is swallowed; `sizes` are those of all that were sent.
    """

    delay: float = 0.01
    rate: float = 0.0
    loss: float = 0.0
    dead: bool = False
    jitter: float = 0.2
    longest: int = 65536
    sizes: Counter[int] = field(default_factory=Counter)


class _Half:
    """One direction of a TCP connection: what is written arrives later, in order."""

    def __init__(self, link: Link, capacity: int) -> None:
        self.link, self.capacity = link, capacity
        self.queue: deque[tuple[float, bytes]] = deque()
        self.waiting = 0  # bytes that the reader has not taken
        self.ended = self.reset = False
        self.free_at = 0.0
        self.changed = asyncio.Event()

    def put(self, data: bytes, now: float) -> None:
        self.free_at = max(self.free_at, now)
        if self.link.rate:
            self.free_at += len(data) / self.link.rate
        self.queue.append((self.free_at + self.link.delay, data))
        self.waiting += len(data)
        self.touch()

    def touch(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Pipe:
    """A TCP socket as a BytePipe."""

    def __init__(self, out: _Half, into: _Half) -> None:
        self._out, self._in = out, into
        self._loop = asyncio.get_running_loop()

    async def read(self) -> bytes:
        half = self._in
        while True:
            if half.reset:
                raise ConnectionResetError("reset")
            if half.queue and not half.link.dead:
                at, data = half.queue[0]
                if at <= self._loop.time() + 1e-9:
                    half.queue.popleft()
                    half.waiting -= len(data)
                    half.touch()
                    return data
                await asyncio.sleep(at - self._loop.time())
                continue
            if half.ended and not half.queue and not half.link.dead:
                return b""
            await half.changed.wait()

    async def write(self, data: bytes) -> None:
        half = self._out
        for start in range(0, len(data), 16384):
            if half.reset:
                raise ConnectionResetError("reset")
            half.put(data[start : start + 16384], self._loop.time())
            while half.waiting > half.capacity and not half.reset:
                await half.changed.wait()

    async def end(self) -> None:
        self._out.ended = True
        self._out.touch()

    def abort(self) -> None:
        """What is on its way is lost, as with RST, unless there is nothing."""
        for half in (self._out, self._in):
            if half.queue or half is self._in:
                half.queue.clear()
                half.waiting = 0
                half.reset = half.reset or not half.ended
            half.ended = True
            half.touch()

    @property
    def undelivered(self) -> int:
        return self._out.waiting

    def silent_for(self) -> float | None:
        return None


class _Plain:
    """In place of Noise: its cost is not what is looked at here."""

    def seal(self, data: bytes) -> bytes:
        return bytes(data)

    def open(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""


Ends = tuple[Connection, Connection]


async def tcp_ends(
    link: Link, rng: random.Random, capacity: int = 0, limits: yamux.Limits | None = None
) -> Ends:
    """Yamux over a pipe in memory; `capacity` is how many bytes the pipe holds."""
    capacity = capacity or rng.choice([8_192, 65_536, 1_000_000])
    one, two = _Half(link, capacity), _Half(link, capacity)
    limits = limits or yamux.Limits(window=rng.choice([16, 64, 256]) * 1024)
    way = Multiaddr.parse("/ip4/127.0.0.1/tcp/1")
    made = []
    for n, pipe in enumerate((Pipe(one, two), Pipe(two, one))):
        session = yamux.Session(client=n == 0, now=0.0, limits=limits)
        direction = (Direction.OUTBOUND, Direction.INBOUND)[n]
        made.append(
            MuxedConnection(
                pipe, cast(Channel, _Plain()), session, PEERS[1 - n], way, way, direction
            )
        )
    return made[0], made[1]


class _Air:
    """Datagrams between two endpoints, which get lost and overtake each other."""

    def __init__(self, link: Link, rng: random.Random) -> None:
        self.link, self.rng = link, rng
        self.ends: dict[Any, QuicEndpoint] = {}
        self.free_at = 0.0
        self.loop = asyncio.get_running_loop()

    def send(self, data: bytes, source: Any, target: Any) -> None:
        self.link.sizes[len(data)] += 1
        if self.link.dead or self.rng.random() < self.link.loss or len(data) > self.link.longest:
            return
        self.free_at = max(self.free_at, self.loop.time())
        if self.link.rate:
            self.free_at += len(data) / self.link.rate
        delay = (
            self.free_at
            - self.loop.time()
            + self.link.delay * self.rng.uniform(1.0, 1.0 + self.link.jitter)
        )
        self.loop.call_later(delay, self._arrive, data, source, target)

    def _arrive(self, data: bytes, source: Any, target: Any) -> None:
        if not self.link.dead:
            self.ends[target].receive([(data, source)])


class _Socket:
    def __init__(self, air: _Air, name: Any) -> None:
        self._air, self.name = air, name

    def sendto(self, data: bytes, target: Any) -> None:
        self._air.send(data, self.name, target)

    def close(self) -> None:
        """Nothing is open."""


_make = cache(tls_certificate.make)


async def quic_ends(link: Link, rng: random.Random) -> Ends:
    """QUIC over datagrams in memory, after its handshake."""
    air = _Air(link, rng)
    accepted: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
    for n, key in enumerate(KEYS):
        endpoint = QuicEndpoint(key, QuicTimers())
        name = ("127.0.0.1", n + 1)
        endpoint.carried_by(_Socket(air, name))
        air.ends[name] = endpoint
    client, server = air.ends.values()
    server.on_connection = accepted.set_result
    loss, link.loss = link.loss, 0.0
    way = Multiaddr.from_socket("127.0.0.1", 2, "quic-v1")
    dialed = await client.dial(way, PEERS[1], 30)
    there = await accepted
    link.loss = loss
    return dialed, there


def small_quic() -> None:
    """Windows that a test of a few kilobytes fills."""
    tls_certificate.make = _make
    quic_engine.WINDOW = 16 * 1024
    quic_engine._SEND_BUFFER = 16 * 1024


__all__ = ["Ends", "Link", "StuckError", "quic_ends", "run_virtual", "tcp_ends"]
