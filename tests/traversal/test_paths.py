"""Paths that die without a word are noticed in seconds, and living ones are left alone."""

import asyncio
import os

import pytest

from testbed.traversal import Node
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.path_watch import PathOptions
from testbed.traversal.aio.stream import Stream
from testbed.traversal.aio.tcp import TcpPipe
from testbed.traversal.errors import ConnectionClosedError, PathLostError

from .nodes import address, nodes, run
from .slow_link import slow_link
from .test_closing import GIVE, KEEP, gives, takes, whole

pytestmark = pytest.mark.timeout(60)
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])


@pytest.fixture(autouse=True)
def no_kernel_answers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is a program acknowledges though it stands still: only bytes count then.

    What the kernel says of a path is looked at in labs, where packets are lost.
    """
    if "lives" not in request.node.name and "cost" not in request.node.name:
        monkeypatch.setattr(TcpPipe, "silent_for", lambda _: None)


def keeps(node: Node) -> None:
    """A handler that reads nothing and holds the stream."""

    async def keep(stream: Stream, connection: Connection) -> None:
        del stream
        await connection.wait_closed()

    node.set_handler(KEEP, keep)


@BOTH
@pytest.mark.parametrize("what", ["reads", "writes"])
def test_a_stream_on_a_dead_path_ends_with_a_typed_error_within_three_seconds(
    transport: str, what: str
) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b), slow_link(address(b)) as through:
            keeps(b)
            await a.dial(through.address)
            stream = await a.open_stream(b.peer, [KEEP])
            await stream.write(b"begin")
            await asyncio.sleep(0.3)
            through.stall()
            loop = asyncio.get_running_loop()
            before = loop.time()
            waiting = stream.read() if what == "reads" else stream.write(bytes(64 * 2**20))
            with pytest.raises(PathLostError):
                await waiting
            assert loop.time() - before < 3.3  # three, and a busy machine's tick

    run(work, 40)


@BOTH
def test_who_waits_for_a_dead_path_at_the_other_end_is_told_too(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b), slow_link(address(b)) as through:
            told: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

            async def wait(stream: Stream, connection: Connection) -> None:
                del connection
                try:
                    await stream.read()
                except ConnectionClosedError as error:
                    told.set_result(error)

            b.set_handler(KEEP, wait)
            await a.dial(through.address)
            stream = await a.open_stream(b.peer, [KEEP])
            await asyncio.sleep(0.3)
            through.stall()
            async with asyncio.timeout(4):
                assert isinstance(await told, PathLostError)
            assert stream

    run(work, 40)


@BOTH
def test_a_path_that_is_silent_and_lives_is_kept(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            keeps(b)
            connection = await a.dial(address(b))
            await a.open_stream(b.peer, [KEEP])
            await asyncio.sleep(6)
            assert connection.usable

    run(work, 40)


@BOTH
def test_a_reader_that_reads_nothing_does_not_cost_the_path(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            keeps(b)
            connection = await a.dial(address(b))
            stream = await a.open_stream(b.peer, [KEEP])
            writing = asyncio.ensure_future(stream.write(bytes(8 * 2**20)))
            await asyncio.sleep(6)
            assert connection.usable
            assert not writing.done()
            stream.abort()
            await asyncio.gather(writing, return_exceptions=True)

    run(work, 40)


@BOTH
def test_a_slow_link_lives(transport: str) -> None:
    """Bytes wait for six seconds in the link; what moves, lives."""

    async def work() -> None:
        data = os.urandom(120_000)
        async with nodes(transport, {}, {}) as (a, b), slow_link(address(b), 20_000) as through:
            gives(b, data)
            await a.dial(through.address)
            assert await whole(await a.open_stream(b.peer, [GIVE])) == data

    run(work, 40)


def test_the_relay_of_a_reservation_is_asked_also_where_no_stream_is_open() -> None:
    from testbed.traversal import RelayLimits

    paths = {"paths": PathOptions(idle_silence=1.0)}

    async def work() -> None:
        async with (
            nodes("tcp", {"relay": RelayLimits()}, paths) as (hub, b),
            slow_link(address(hub)) as through,
        ):
            await b.reserve(through.address)
            [connection] = b.host.connections_to(hub.peer)
            await asyncio.sleep(1.5)
            assert connection.usable
            through.stall()
            async with asyncio.timeout(5):
                await connection.wait_closed()
            assert not b.relays.held

    run(work, 40)


def test_without_the_option_the_transports_timers_are_alone() -> None:
    async def work() -> None:
        off = {"paths": PathOptions(enabled=False)}
        async with nodes("tcp", off, off) as (a, b), slow_link(address(b)) as through:
            keeps(b)
            connection = await a.dial(through.address)
            await a.open_stream(b.peer, [KEEP])
            through.stall()
            await asyncio.sleep(4)
            assert connection.usable

    run(work, 40)


def test_a_closed_node_leaves_nothing_behind_that_watches() -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            takes(b)
            await a.dial(address(b))
        left = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        assert not left

    run(work)
