"""Streams that are written before the remote has agreed: a round trip less, and no refusal lost."""

import asyncio
import contextlib
import os
import random
from collections.abc import Awaitable, Callable

import pytest

from testbed.traversal import Node
from testbed.traversal.aio import host
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.host import Handler
from testbed.traversal.aio.ping import ping
from testbed.traversal.aio.stream import Stream, run_machine
from testbed.traversal.errors import (
    ConnectionClosedError,
    DeadlineError,
    NegotiationError,
    ProtocolError,
    StreamResetError,
    TraversalError,
)
from testbed.traversal.multistream import Listener

from .nodes import address, nodes, run
from .test_nodes import echoed
from .virtual import Link, quic_ends, run_virtual, tcp_ends

pytestmark = pytest.mark.timeout(60)
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
DELAY = 0.1
SPOKEN, UNKNOWN = "/spoken/1", "/unknown/1"
DATA = os.urandom(3000)  # also what a listener takes for a proposal that it cannot read

Work = Callable[[Stream, Connection], Awaitable[None]]


def between(transport: str, work: Work, listen: Work, loss: float = 0.0) -> None:
    """`work` gets a stream that has proposed SPOKEN, `listen` the same at the other end."""

    async def main() -> None:
        link, rng = Link(DELAY), random.Random(3)
        near, far = await (tcp_ends if transport == "tcp" else quic_ends)(link, rng)
        link.loss = loss
        serving: list[asyncio.Task[None]] = []

        async def serve(stream: Stream, connection: Connection) -> None:
            with contextlib.suppress(TraversalError):
                await listen(stream, connection)

        far.on_stream = lambda connection, stream: serving.append(
            asyncio.ensure_future(serve(stream, connection))
        )
        for end in (near, far):
            end.start()
        stream = await near.open_raw_stream()
        await stream.propose(SPOKEN, 10.0)
        await work(stream, near)
        near.abort("done")

    run_virtual(main)


async def echoes(stream: Stream, connection: Connection) -> None:
    del connection
    stream.unread(await run_machine(Listener([SPOKEN]), stream, "multistream"))
    while data := await stream.read():
        await stream.write(data)
    stream.close_write()


async def refuses(stream: Stream, connection: Connection) -> None:
    """As go does: what it cannot read after `na` makes it reset the stream."""
    del connection
    try:
        await run_machine(Listener([]), stream, "multistream")
    except TraversalError:
        stream.abort()


async def mute(stream: Stream, connection: Connection) -> None:
    del stream
    await connection.wait_closed()


async def resets(stream: Stream, connection: Connection) -> None:
    del connection
    await stream.read()
    stream.abort()


async def talks(stream: Stream, connection: Connection) -> None:
    del connection
    await stream.write(b"\x13/multistream/1.0.0\n\x04abc\n")


async def ends(stream: Stream, connection: Connection) -> None:
    del connection
    stream.close_write()


@BOTH
def test_an_answer_comes_after_one_round_trip(transport: str) -> None:
    async def work(stream: Stream, connection: Connection) -> None:
        del connection
        loop = asyncio.get_running_loop()
        start = loop.time()
        await stream.write(DATA)
        assert await stream.read_exactly(len(DATA)) == DATA
        assert loop.time() - start < 1.5 * 2 * DELAY

    between(transport, work, echoes)


@BOTH
def test_a_read_that_was_cancelled_before_the_answer_spoils_nothing(transport: str) -> None:
    async def work(stream: Stream, connection: Connection) -> None:
        del connection
        await stream.write(DATA)
        for _ in range(5):
            reading = asyncio.ensure_future(stream.read())
            await asyncio.sleep(0.01)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        assert await stream.read_exactly(len(DATA)) == DATA

    between(transport, work, echoes)


@BOTH
@pytest.mark.parametrize("loss", [0.0, 0.3])
@pytest.mark.parametrize("size", [0, 1, len(DATA)])
def test_a_refusal_is_the_same_error_at_the_first_read(
    transport: str, size: int, loss: float
) -> None:
    async def work(stream: Stream, connection: Connection) -> None:
        await stream.write(DATA[:size])
        with pytest.raises(NegotiationError):
            await stream.read()
        await stream.close()  # who knows is not told again
        assert not connection.closed

    between(transport, work, refuses, loss if transport == "quic" else 0.0)


@BOTH
@pytest.mark.parametrize("size", [0, 1, len(DATA)])
def test_a_refusal_is_the_same_error_at_close_where_nobody_reads(transport: str, size: int) -> None:
    async def work(stream: Stream, connection: Connection) -> None:
        await stream.write(DATA[:size])
        with pytest.raises(NegotiationError):
            await stream.close()
        await stream.close()
        assert not connection.closed

    between(transport, work, refuses)


@BOTH
def test_who_writes_on_after_a_refusal_is_told(transport: str) -> None:
    async def work(stream: Stream, connection: Connection) -> None:
        del connection
        await asyncio.sleep(1)
        with pytest.raises(NegotiationError):
            await stream.write(DATA)

    between(transport, work, refuses)


@BOTH
@pytest.mark.parametrize(
    ("listen", "error"),
    [(resets, NegotiationError), (talks, ProtocolError), (ends, ProtocolError),
     (mute, DeadlineError)],
)  # fmt: skip
def test_whatever_else_a_remote_does_is_a_typed_error(
    transport: str, listen: Work, error: type[Exception]
) -> None:
    async def work(stream: Stream, connection: Connection) -> None:
        del connection
        with pytest.raises(error):
            await stream.agreed()
        with pytest.raises(error):
            await stream.read()

    between(transport, work, listen)


@BOTH
def test_a_connection_that_dies_before_the_answer_is_no_refusal(transport: str) -> None:
    async def work(stream: Stream, connection: Connection) -> None:
        connection.abort("gone")
        await stream.close()
        with pytest.raises(ConnectionClosedError):
            await stream.wait_closed()
        with pytest.raises(ConnectionClosedError):
            await stream.agreed()

    between(transport, work, mute)


@BOTH
def test_a_reset_of_our_own_is_no_refusal(transport: str) -> None:
    async def work(stream: Stream, connection: Connection) -> None:
        del connection
        stream.abort()
        with pytest.raises(StreamResetError):
            await stream.read()
        await stream.close()

    between(transport, work, echoes)


@BOTH
def test_a_reset_after_the_answer_is_no_refusal(transport: str) -> None:
    async def agrees_and_resets(stream: Stream, connection: Connection) -> None:
        del connection
        await run_machine(Listener([SPOKEN]), stream, "multistream")
        await asyncio.sleep(1)
        stream.abort()

    async def work(stream: Stream, connection: Connection) -> None:
        del connection
        await stream.agreed()
        with pytest.raises(StreamResetError):
            await stream.read()

    between(transport, work, agrees_and_resets)


# Whole nodes


def takes(got: "asyncio.Queue[bytes]") -> Handler:
    async def take(stream: Stream, connection: Connection) -> None:
        del connection
        whole = bytearray()
        while data := await stream.read():
            whole += data
        got.put_nowait(bytes(whole))

    return take


@BOTH
def test_what_is_written_and_closed_at_once_arrives(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            got: asyncio.Queue[bytes] = asyncio.Queue()
            b.set_handler(SPOKEN, takes(got))
            await a.dial(address(b))
            for size in (0, 1, 100_000, 500_000):
                stream = await a.open_stream(b.peer, [SPOKEN])
                await stream.write(bytes(size))
                await stream.close()
                assert len(await got.get()) == size

    run(work)


async def refused_at(step: str, a: Node, b: Node) -> None:
    stream = await a.open_stream(b.peer, [UNKNOWN])
    await stream.write(DATA)
    with pytest.raises(NegotiationError):
        await (stream.read() if step == "read" else stream.close())


@BOTH
def test_a_node_refuses_what_it_does_not_serve_and_the_connection_lives_on(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            await a.dial(address(b))
            for step in ("read", "close"):
                await refused_at(step, a, b)
            assert await echoed(a, b.peer, DATA) == DATA

    run(work)


def test_a_ping_of_a_connection_that_says_nothing_takes_no_longer_than_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def serve(self: host.Host, connection: Connection, stream: Stream) -> None:
        del self, stream
        await connection.wait_closed()

    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            connection = await a.dial(address(b))
            await a.identify.wait(connection)
            monkeypatch.setattr(host.Host, "_serve", serve)
            loop = asyncio.get_running_loop()
            start = loop.time()
            with pytest.raises(DeadlineError):
                await ping(a.host, connection, 0.5)
            assert loop.time() - start < 2

    run(work)
