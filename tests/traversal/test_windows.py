"""Windows that follow the round trip: quick on long paths, and within the budgets under attack."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.traversal import PeerId, PrivateKey, yamux
from testbed.traversal.aio import quic_engine
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.host import HostLimits
from testbed.traversal.aio.stream import Stream
from testbed.traversal.memory import Memory, MemoryLimits
from testbed.traversal.window import ReceiveWindow

from .hostile import MIB, siege
from .nodes import address, run
from .virtual import Ends, Link, quic_ends, run_virtual, tcp_ends

pytestmark = pytest.mark.timeout(120)
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
KIB = 1024
TRIP = 0.04
SIZES = {"tcp": 32 * MIB, "quic": 12 * MIB}  # QUIC starts slowly, and costs processor time


def always(count: int) -> bool:
    del count
    return True


# The rule


@given(st.lists(st.tuples(st.integers(0, 300 * KIB), st.floats(0, 0.2)), max_size=60))
def test_a_window_gives_back_what_was_read_and_what_it_grew_by(
    reads: list[tuple[int, float]],
) -> None:
    window, now, given_back, read = ReceiveWindow(256 * KIB, 4 * MIB), 0.0, 0, 0
    for count, pause in reads:
        now += pause
        read += count
        given_back += window.consume(count, now, TRIP, always)
        assert window.size == 256 * KIB + window.grown <= 4 * MIB
        assert given_back + window.waiting == read + window.grown
        assert window.waiting < window.size // 2


def test_a_window_grows_where_a_round_trip_empties_it_and_not_for_a_slow_reader() -> None:
    busy, slow, unknown = (ReceiveWindow(256 * KIB, 4 * MIB) for _ in range(3))
    for n in range(20):
        busy.consume(busy.size // 2, n * TRIP, TRIP, always)
        slow.consume(128 * KIB, n * 3 * TRIP, TRIP, always)
        unknown.consume(128 * KIB, n * TRIP, 0.0, always)
    assert busy.size == 4 * MIB
    assert slow.size == unknown.size == 256 * KIB


def test_a_window_stays_as_it_is_where_nothing_can_be_promised() -> None:
    window = ReceiveWindow(256 * KIB, 4 * MIB)
    for n in range(20):
        window.consume(128 * KIB, n * 0.001, TRIP, lambda _: False)
    assert window.size == 256 * KIB


def test_no_more_than_half_of_each_limit_is_promised_and_a_connections_end_gives_it_back() -> None:
    memory = Memory(MemoryLimits(connection=20, peer=30, node=40))
    one, two = (PeerId.from_public_key(PrivateKey.generate().public) for _ in range(2))
    first, second, other = memory.account(one), memory.account(one), memory.account(two)
    assert first.promise(10)
    assert not first.promise(1)
    assert second.promise(5)
    assert not second.promise(1)
    assert other.promise(5)
    assert not other.promise(1)
    first.close()
    first.keep(10)
    assert memory.promised == 10
    assert other.promise(5)
    assert other.take(20), "what is promised is not what is held"


# A long path, in virtual time


async def ends(transport: str, **words: object) -> Ends:
    link, rng = Link(TRIP / 2, jitter=0.0), random.Random(1)
    if transport == "quic":
        return await quic_ends(link, rng)
    return await tcp_ends(link, rng, capacity=16 * MIB, limits=yamux.Limits(**words))  # type: ignore[arg-type]


async def pumped(
    transport: str, size: int, read: Callable[[Stream, Connection], Awaitable[None]]
) -> tuple[float, Connection]:
    """Seconds for `size` bytes, and the reader's connection, which `read` reads from."""
    writer, reader = await ends(transport)
    arrived: asyncio.Future[Stream] = asyncio.get_running_loop().create_future()
    reader.on_stream = lambda _, stream: arrived.set_result(stream)
    for end in (writer, reader):
        end.start()
    stream = await writer.open_raw_stream()
    loop = asyncio.get_running_loop()
    start = loop.time()

    async def write() -> None:
        await stream.write(bytes(size))
        stream.close_write()

    writing = asyncio.ensure_future(write())
    await read(await arrived, reader)
    await writing
    took = loop.time() - start
    writer.abort("done")
    return took, reader


async def all_of_it(size: int, stream: Stream, connection: Connection) -> None:
    count = 0
    while data := await stream.read():
        count += len(data)
    assert count == size
    assert connection.account.promised <= connection.account._memory.limits.connection // 2
    stream.close_write()


def taken(transport: str) -> float:
    found: list[float] = []

    async def work() -> None:
        size = SIZES[transport]
        found.append((await pumped(transport, size, partial(all_of_it, size)))[0])

    run_virtual(work)
    return found[0]


@BOTH
def test_a_long_path_is_not_limited_by_the_first_window(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 256 KiB a round trip it takes 40 ms a window."""
    grown = taken(transport)
    monkeypatch.setattr(ReceiveWindow, "consume", _without_growth(ReceiveWindow.consume))
    still = taken(transport)
    assert still > 0.9 * TRIP * SIZES[transport] / quic_engine.WINDOW
    assert grown < still / 2.5


def _without_growth(consume: Callable[..., int]) -> Callable[..., int]:
    return lambda window, count, now, _, promise: consume(window, count, now, 0.0, promise)


@BOTH
def test_a_slow_reader_keeps_the_first_window(transport: str) -> None:
    async def work() -> None:
        async def slowly(stream: Stream, connection: Connection) -> None:
            while await stream.read(32 * KIB):
                assert stream.buffered <= quic_engine.WINDOW
                await asyncio.sleep(TRIP)
            assert connection.account.promised == 0

        await pumped(transport, 3 * MIB, slowly)

    run_virtual(work)


@BOTH
def test_a_reader_that_stops_after_its_window_has_grown_holds_one_window_and_loses_nothing(
    transport: str,
) -> None:
    async def work() -> None:
        size = SIZES[transport]

        async def stops(stream: Stream, connection: Connection) -> None:
            read = 0
            while read < size // 2:
                read += len(await stream.read())
            promised = connection.account.promised
            assert promised > 0
            await asyncio.sleep(20)
            assert stream.buffered <= quic_engine.WINDOW + promised
            await all_of_it(size - read, stream, connection)

        await pumped(transport, size, stops)

    run_virtual(work)


@BOTH
def test_what_a_stream_was_promised_is_free_once_it_is_over(transport: str) -> None:
    async def work() -> None:
        size = SIZES[transport]

        async def ended(stream: Stream, connection: Connection) -> None:
            await all_of_it(size, stream, connection)
            assert connection.account.promised == 0

        await pumped(transport, size, ended)

    run_virtual(work)


# Attacks


def reads_and_stops(size: int) -> Callable[[Stream, Connection], Awaitable[None]]:
    """A handler that reads quickly at first, as long as windows grow, and then nothing."""

    async def handle(stream: Stream, connection: Connection) -> None:
        read = 0
        while read < size:
            read += len(await stream.read())
        await connection.wait_closed()

    return handle


@BOTH
def test_a_remote_that_delays_its_answers_gets_no_more_than_the_budget(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that the path takes two seconds, so that every reader of ours looks quick to us."""
    if transport == "tcp":
        honest = yamux.Session._on_ping

        def late(session: yamux.Session, frame: yamux._Frame) -> list[yamux.Event]:
            if frame.flags & 2:  # an answer: as if it had been under way for two seconds
                frame = frame._replace(now=frame.now + 2)
            return honest(session, frame)

        monkeypatch.setattr(yamux.Session, "_on_ping", late)
    else:
        monkeypatch.setattr(ReceiveWindow, "consume", _far_away(ReceiveWindow.consume))
    limits = HostLimits(memory=MemoryLimits(2 * MIB, 3 * MIB, 4 * MIB))

    data = bytes(8 * MIB)

    async def work() -> None:
        async with siege(transport, 32, limits=limits) as (evil, target):
            target.set_handler("/greedy/1", reads_and_stops(MIB))
            streams = []
            for _ in range(2):
                connection = await evil.host.dial_direct(
                    address(target).without_peer(), target.peer, 5, fresh=True
                )
                for _ in range(4):
                    streams.append(await evil.host.open_lazily(connection, "/greedy/1"))
            writing = [asyncio.ensure_future(stream.write(data)) for stream in streams]
            memory, most, promised = target.host.memory, 0, 0
            for _ in range(300):
                await asyncio.sleep(0.01)
                most, promised = max(most, memory.held), max(promised, memory.promised)
                assert memory.held <= limits.memory.peer
                assert memory.promised <= limits.memory.peer // 2
            assert promised > 0
            assert most > 0
            for task in writing:
                task.cancel()
            await asyncio.gather(*writing, return_exceptions=True)
            for connection in target.host.connections:
                connection.abort("enough")
            assert memory.held == memory.promised == 0

    run(work, 60)


def _far_away(consume: Callable[..., int]) -> Callable[..., int]:
    return lambda window, count, now, _, promise: consume(window, count, now, 2.0, promise)


def test_a_remote_that_opens_its_window_wide_and_reads_nothing_meets_the_sending_budget() -> None:
    """QUIC acknowledges what nobody reads: the congestion window grows, the buffer with it."""
    limits = HostLimits(sending=MemoryLimits(2 * MIB, 2 * MIB, 4 * MIB))

    async def work() -> None:
        async with siege("quic", 48, limits=limits) as (evil, target):

            async def gush(stream: Stream, connection: Connection) -> None:
                del connection
                while True:
                    await stream.write(bytes(64 * KIB))

            target.set_handler("/gush/1", gush)
            connection = await evil.dial(address(target))
            for _ in range(8):
                await evil.host.open_lazily(connection, "/gush/1")
            most = 0
            for _ in range(200):
                await asyncio.sleep(0.01)
                most = max(most, target.host.sending.held)
            assert 0 < most <= limits.sending.connection + limits.sending.assured

    run(work, 60)
