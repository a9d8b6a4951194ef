"""Random schedules of both ends of a connection, and what must hold after each (issue 17).

`python -m tests.traversal.schedules tcp 10000` runs so many from the first seed on; one seed is
one schedule, always the same.
"""

import asyncio
import contextlib
import random
import sys
from dataclasses import dataclass, field
from typing import Any

from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.stream import Stream
from testbed.traversal.errors import TraversalError

from .virtual import Ends, Link, StuckError, quic_ends, run_virtual, small_quic, tcp_ends

LIMIT = 400.0  # virtual seconds: a closing connection has 60, a dead one is noticed within 45
_PATTERN = bytes(random.Random(7).randbytes(1_000_003))
_SIZES = {
    "tcp": (0, 1, 900, 5_000, 60_000, 300_000),
    "quic": (0, 1, 900, 5_000, 40_000),
}


class BrokenPromiseError(AssertionError):
    """Bytes are lost without a word, or somebody waits for ever."""


@dataclass
class Way:
    """One direction of one stream: what its writer did, and what its reader saw."""

    attempted: int = 0  # bytes offered
    written: int = 0  # bytes of writes that returned
    ended: bool = False  # by the writer, cleanly
    confirmed: bool = False  # `wait_closed` returned
    write_error: Exception | None = None
    got: bytearray = field(default_factory=bytearray)
    eof: bool = False
    read_error: Exception | None = None
    gave_up: bool = False  # the reader: by its own will


@dataclass
class Plan:
    """What disturbs a schedule; without all of it everything must arrive."""

    cancels: bool = False
    aborts: bool = False
    deaf: bool = False  # readers that stop
    closes: bool = False  # a connection is closed while streams are at work
    dies: bool = False  # the connection is aborted, or its link carries nothing any more

    @property
    def benign(self) -> bool:
        return not (self.cancels or self.aborts or self.deaf or self.closes or self.dies)


class Schedule:
    """One run of one seed."""

    def __init__(self, transport: str, seed: int) -> None:
        self.transport, self.seed = transport, seed
        self.rng = rng = random.Random(seed)
        odds = [rng.random() < 0.25 for _ in range(5)]
        self.plan = Plan(*odds) if rng.random() < 0.75 else Plan()
        loss = rng.choice([0.0, 0.02, 0.1, 0.25]) if transport == "quic" else 0.0
        self.link = Link(rng.choice([0.0005, 0.02, 0.2]), rng.choice([0, 0, 50_000]), loss)
        self.ways: list[tuple[Way, Way]] = []
        self.ends: Ends
        self.accepted: dict[int, asyncio.Future[Stream]] = {}

    async def run(self) -> None:
        make = tcp_ends if self.transport == "tcp" else quic_ends
        self.ends = await make(self.link, self.rng)
        for end in self.ends:
            end.on_stream = self._accept
            end.start()
        work = [self._stream(self.rng.randrange(2)) for _ in range(self.rng.randint(1, 4))]
        disturbing = asyncio.create_task(self._disturb())
        try:
            async with asyncio.timeout(LIMIT):
                await asyncio.gather(*work)
                await disturbing
                await asyncio.gather(*(end.close() for end in self.ends))
        except TimeoutError as error:
            raise BrokenPromiseError(f"still at work after {LIMIT:g} virtual seconds") from error
        for one, two in self.ways:
            self._judge(one)
            self._judge(two)

    def _accept(self, connection: Connection, stream: Stream) -> None:
        self._arrival(connection, stream.stream_id).set_result(stream)

    def _arrival(self, connection: Connection, number: int) -> asyncio.Future[Stream]:
        key = number * 2 + self.ends.index(connection)
        if key not in self.accepted:
            self.accepted[key] = asyncio.get_running_loop().create_future()
        return self.accepted[key]

    # What happens.

    async def _disturb(self) -> None:
        rng, plan = self.rng, self.plan
        if not (plan.closes or plan.dies):
            return
        await asyncio.sleep(rng.choice([0.0, 0.03, 0.3, 2.0]) * rng.random())
        end = self.ends[rng.randrange(2)]
        if plan.closes:
            await end.close()
        elif rng.random() < 0.5:
            end.abort("the schedule says so")
        else:
            self.link.dead = True
            await asyncio.sleep(60)  # nobody watches paths here: the timers do
            for one in self.ends:
                one.abort("the link is dead")

    async def _stream(self, opener: int) -> None:
        rng = self.rng
        there, back = Way(), Way()
        self.ways.append((there, back))
        await asyncio.sleep(rng.choice([0.0, 0.05, 0.5]) * rng.random())
        near, far = self.ends[opener], self.ends[1 - opener]
        try:
            stream = await near.open_raw_stream()
            await self._write_some(stream, there, 1)  # the far end hears of a stream by its bytes
        except TraversalError as error:
            for way in (there, back):
                way.write_error, way.read_error = error, error
            return
        arrival = self._arrival(far, stream.stream_id)
        ends = [self._end(stream, there, back, rng.getrandbits(32))]
        ends.append(self._far_end(far, arrival, back, there, rng.getrandbits(32)))
        await asyncio.gather(*ends)

    async def _far_end(
        self, far: Connection, arrival: asyncio.Future[Stream], out: Way, into: Way, seed: int
    ) -> None:
        closed = asyncio.create_task(far.wait_closed())
        # One that was reset before its first byte had arrived is never heard of.
        both: list[asyncio.Future[Any]] = [arrival, closed]
        await asyncio.wait(both, timeout=90, return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        if not arrival.done():
            error = TraversalError("it never arrived")
            out.write_error, into.read_error = error, error
            return
        await self._end(arrival.result(), out, into, seed)

    async def _end(self, stream: Stream, out: Way, into: Way, seed: int) -> None:
        rng = random.Random(seed)
        await asyncio.gather(self._writer(stream, out, rng), self._reader(stream, into, rng))

    async def _write_some(self, stream: Stream, way: Way, count: int) -> None:
        data = _PATTERN[way.attempted : way.attempted + count]
        way.attempted += len(data)
        await stream.write(data)
        way.written += len(data)

    async def _writer(self, stream: Stream, way: Way, rng: random.Random) -> None:
        try:
            for _ in range(rng.randint(0, 3)):
                await asyncio.sleep(rng.choice([0.0, 0.0, 0.1, 7.0]) * rng.random())
                size = min(rng.choice(_SIZES[self.transport]), len(_PATTERN) - way.attempted)
                if self.plan.cancels and rng.random() < 0.3:
                    writing = asyncio.ensure_future(self._write_some(stream, way, size))
                    await asyncio.sleep(rng.choice([0.0, 0.01, 1.0]))
                    writing.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await writing
                    break
                await self._write_some(stream, way, size)
            if self.plan.aborts and rng.random() < 0.4:
                stream.abort()
                way.write_error = TraversalError("aborted by itself")
                return
            stream.close_write()
            way.ended = True
            if rng.random() < 0.5:
                await stream.wait_closed()
                way.confirmed = True
        except TraversalError as error:
            way.write_error = error

    async def _reader(self, stream: Stream, way: Way, rng: random.Random) -> None:
        slow = rng.choice([0.0, 0.0, 0.02, 1.0])
        deaf = self.plan.deaf and rng.random() < 0.5
        await asyncio.sleep(rng.choice([0.0, 0.0, 6.0]) * rng.random())
        try:
            while True:
                data = await stream.read(rng.choice([1_000, 65_536]) if slow < 1 else 65_536)
                if not data:
                    way.eof = True
                    return
                way.got += data
                if deaf and rng.random() < 0.5:
                    way.gave_up = True
                    stream.close_read()
                    return
                if slow:
                    await asyncio.sleep(slow * rng.random())
        except TraversalError as error:
            way.read_error = error

    # What must hold.

    def _judge(self, way: Way) -> None:
        count = len(way.got)
        if bytes(way.got) != _PATTERN[:count] or count > way.attempted:
            raise BrokenPromiseError(f"{count} bytes that were not written like that: {way}")
        if way.eof and not way.ended and way.write_error is None:
            raise BrokenPromiseError("an end that nobody made")
        if way.eof and (not way.ended or count < way.written):
            raise BrokenPromiseError(f"the end after {count} of {way.written} bytes")
        if self.plan.benign and not (way.eof and count == way.written):
            raise BrokenPromiseError(f"{count} of {way.written} bytes and no end: {way.read_error}")
        ours = self.plan.aborts or self.plan.closes or self.plan.dies
        if way.confirmed and not way.gave_up and not ours and not way.eof:
            raise BrokenPromiseError(f"confirmed, and not there: {way.read_error}")
        if not (way.eof or way.gave_up or way.read_error):
            raise BrokenPromiseError("the reader has neither an end nor an error")


def check(transport: str, seed: int) -> None:
    """Run one schedule.  Raises BrokenPromiseError, naming the seed."""
    schedule = Schedule(transport, seed)
    leaked: list[object] = []

    async def work() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: leaked.append(context))
        await schedule.run()

    try:
        run_virtual(work)
    except (BrokenPromiseError, StuckError) as error:
        raise BrokenPromiseError(f"{transport} {seed} {schedule.plan}: {error}") from error
    if leaked:
        raise BrokenPromiseError(f"{transport} {seed}: {leaked[:1]}")


def main(transport: str, count: int, first: int = 0) -> int:
    """Run many; say which seeds broke a promise."""
    small_quic()
    broken = 0
    for seed in range(first, first + count):
        try:
            check(transport, seed)
        except BrokenPromiseError as error:
            broken += 1
            print(error, flush=True)
    print(f"{transport}: {count} schedules, {broken} broke a promise")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
