"""Closing loses nothing: all bytes and then EOF (RFC 9000 section 3.1), or a typed error."""

import asyncio
import os

import pytest

from testbed.traversal import Node, TraversalError
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.stream import Stream

from .nodes import address, nodes, run
from .slow_link import slow_link

pytestmark = pytest.mark.timeout(60)
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
GIVE = "/give/1"
KEEP = "/keep/1"
MORE_THAN_A_WINDOW = 400_000


def gives(node: Node, data: bytes) -> None:
    """Who opens a stream is given the data, and then the stream is closed."""

    async def give(stream: Stream, connection: Connection) -> None:
        del connection
        await stream.write(data)

    node.set_handler(GIVE, give)


def takes(node: Node, before: float = 0.0) -> asyncio.Future[bytes]:
    """All that comes on the first stream, read only after `before` seconds."""
    taken: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def take(stream: Stream, connection: Connection) -> None:
        del connection
        await asyncio.sleep(before)
        try:
            taken.set_result(await whole(stream))
        except TraversalError as error:
            taken.set_exception(error)

    node.set_handler(GIVE, take)
    return taken


async def whole(stream: Stream) -> bytes:
    got = bytearray()
    while part := await stream.read():
        got += part
    return bytes(got)


# Clean ends


@BOTH
def test_a_link_slower_than_any_patience_delivers_all_that_a_handler_wrote(transport: str) -> None:
    """At 30 kB/s, 250 KiB take more than eight seconds after the handler has returned."""

    async def work() -> None:
        data = os.urandom(250 * 1024)
        async with nodes(transport, {}, {}) as (a, b), slow_link(address(b), 30_000) as through:
            gives(b, data)
            await a.dial(through.address)
            assert await whole(await a.open_stream(b.peer, [GIVE], allow_limited=True)) == data

    run(work, 40)


@BOTH
def test_a_reader_that_comes_late_reads_all_and_then_the_end(transport: str) -> None:
    async def work() -> None:
        data = os.urandom(200_000)
        async with nodes(transport, {}, {}) as (a, b):
            gives(b, data)
            await a.dial(address(b))
            stream = await a.open_stream(b.peer, [GIVE], allow_limited=True)
            await asyncio.sleep(6)  # longer than the five seconds after which streams were reset
            assert await whole(stream) == data

    run(work, 40)


@BOTH
def test_a_node_that_closes_delivers_first_what_was_written(transport: str) -> None:
    async def work() -> None:
        data = os.urandom(2**20)
        async with nodes(transport, {}, {}) as (a, b):
            taken = takes(b)
            await a.dial(address(b))
            stream = await a.open_stream(b.peer, [GIVE], allow_limited=True)
            await stream.write(data)
            await stream.close()
            await a.close()
            assert await taken == data

    run(work, 40)


@BOTH
def test_a_node_that_closes_waits_for_a_slow_link_as_long_as_bytes_move(transport: str) -> None:
    async def work() -> None:
        data = os.urandom(200_000)
        async with nodes(transport, {}, {}) as (a, b), slow_link(address(b), 40_000) as through:
            taken = takes(b)
            await a.dial(through.address)
            stream = await a.open_stream(b.peer, [GIVE], allow_limited=True)
            await stream.write(data)
            await stream.close()
            await a.close()
            assert await taken == data

    run(work, 40)


@BOTH
def test_the_end_that_arrived_outlives_the_connection(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            gives(b, b"all of it")
            await a.dial(address(b))
            stream = await a.open_stream(b.peer, [GIVE], allow_limited=True)
            await stream.agreed()
            await b.close()
            assert await whole(stream) == b"all of it"

    run(work)


@BOTH
def test_a_circuit_that_is_closed_delivers_first_what_was_written(transport: str) -> None:
    async def work() -> None:
        from .test_nodes import circuit, relayed_trio

        data = os.urandom(100_000)
        async with nodes(transport, *relayed_trio(data=0)) as trio:
            _, a, b, _ = await circuit(trio)
            taken = takes(b)
            stream = await a.open_stream(b.peer, [GIVE], allow_limited=True)
            await stream.write(data)
            await stream.close()
            await a.close()
            assert await taken == data

    run(work, 40)


@BOTH
def test_who_closes_gets_rid_of_what_the_other_still_writes(transport: str) -> None:
    """The writer is told by an error, and what was written to it before arrives."""

    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            told: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

            async def chatter(stream: Stream, connection: Connection) -> None:
                del connection
                with pytest.raises(TraversalError):
                    await stream.write(bytes(64 * 2**20))
                told.set_result(await whole(stream))

            b.set_handler(KEEP, chatter)
            await a.dial(address(b))
            stream = await a.open_stream(b.peer, [KEEP])
            await stream.write(b"good bye")
            await stream.close()
            assert await told == b"good bye"
            with pytest.raises(TraversalError):
                await stream.read()

    run(work)


@BOTH
def test_wait_closed_returns_when_the_other_side_has_it_all(transport: str) -> None:
    async def work() -> None:
        data = os.urandom(MORE_THAN_A_WINDOW)
        async with nodes(transport, {}, {}) as (a, b):
            taken = takes(b)
            await a.dial(address(b))
            stream = await a.open_stream(b.peer, [GIVE], allow_limited=True)
            await stream.write(data)
            await stream.close()
            await stream.wait_closed()
            assert await taken == data

    run(work)


# Ends that are not clean


@BOTH
@pytest.mark.parametrize("who", ["writer", "reader"])
def test_a_write_that_waits_for_room_ends_with_the_connection(transport: str, who: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            held = asyncio.Event()

            async def hold(stream: Stream, connection: Connection) -> None:
                del stream
                held.set()
                await connection.wait_closed()

            b.set_handler(KEEP, hold)
            connection = await a.dial(address(b))
            stream = await a.open_stream(b.peer, [KEEP])
            writing = asyncio.ensure_future(stream.write(bytes(20 * 2**20)))
            await held.wait()
            await asyncio.sleep(0.2)  # the windows are full
            assert not writing.done()
            if who == "writer":
                connection.abort("it died")
            else:
                b.host.connections_to(a.peer)[0].abort("it died")
            with pytest.raises(TraversalError):
                async with asyncio.timeout(3):
                    await writing

    run(work)


def test_a_write_that_waits_for_a_full_socket_ends_with_the_connection() -> None:
    """The remote's kernel takes no more: the writer waits for the connection, not for a window."""

    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b), slow_link(address(b)) as through:
            connection = await a.dial(through.address)
            await a.identify.wait(connection)
            through.stall()
            streams = [await connection.open_raw_stream() for _ in range(30)]
            writing = [asyncio.ensure_future(s.write(bytes(250_000))) for s in streams]
            await asyncio.sleep(0.3)
            assert not all(w.done() for w in writing)
            connection.abort("it died")
            async with asyncio.timeout(3):
                done = await asyncio.gather(*writing, return_exceptions=True)
            assert any(isinstance(error, TraversalError) for error in done)

    run(work)
