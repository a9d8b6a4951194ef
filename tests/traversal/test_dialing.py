"""Ports that are taken, and connections that are no more: an error or a new dial."""

import asyncio
import socket

import pytest

from testbed.traversal import Node
from testbed.traversal.aio.muxed import MuxedConnection
from testbed.traversal.aio.tcp import TcpPipe

from .nodes import address, nodes, run
from .slow_link import slow_link
from .test_nodes import echoed

pytestmark = pytest.mark.timeout(60)
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])


@BOTH
def test_a_second_node_on_a_port_in_use_gets_an_error(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}) as (a,), Node() as second:
            with pytest.raises(OSError, match="in use"):
                await second.listen(a.listening()[0])

    run(work)


def test_a_port_that_only_dials_have_used_can_be_listened_on_again() -> None:
    """As after a restart: connections of before linger on the port, nobody listens."""

    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            port = a.listening()[0]
            await a.dial(address(b))
            await a.close()
            async with Node() as again:
                assert await again.listen(port) == port

    run(work)


@BOTH
def test_a_dial_passes_over_a_connection_that_is_being_closed(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            old = await a.dial(address(b))
            closing = asyncio.ensure_future(old.close())
            await asyncio.sleep(0)
            new = await a.dial(address(b))
            assert new is not old
            await closing
            assert await echoed(a, b.peer, b"alive") == b"alive"

    run(work)


def test_a_dial_passes_over_a_connection_whose_remote_went_away() -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            old = await a.dial(address(b))
            [there] = b.host.connections_to(a.peer)
            assert isinstance(there, MuxedConnection)
            there._session.go_away()
            there._wake()
            async with asyncio.timeout(5):
                while a.host.connections_to(b.peer):
                    await asyncio.sleep(0.01)
            assert await a.dial(address(b)) is not old
            assert await echoed(a, b.peer, b"alive") == b"alive"

    run(work)


@BOTH
def test_a_dial_does_not_give_back_a_connection_whose_path_is_dead(transport: str) -> None:
    """Nothing has told of the death yet: a silent connection must answer before it is given."""

    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b), slow_link(address(b)) as through:
            old = await a.dial(through.address)
            await a.identify.wait(old)
            through.stall()
            await asyncio.sleep(2.2)
            async with asyncio.timeout(8):
                new = await a.dial(address(b))
            assert new is not old
            assert old.closed
            assert await echoed(a, b.peer, b"alive") == b"alive"

    run(work, 30)


@BOTH
def test_a_node_that_listens_nowhere_dials(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, {}) as (b,), Node() as a:
            for _ in range(2):
                connection = await a.dial(address(b))
                assert await echoed(a, b.peer, b"no port of its own") == b"no port of its own"
                await connection.close()
            assert not a.listening()

    run(work)


def test_a_pipe_ends_also_where_its_transport_tells_of_no_socket_any_more() -> None:
    """uvloop's transports forget their socket when they close, asyncio's do not."""

    async def work() -> None:
        near, far = socket.socketpair()
        near.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=near)
        pipe = TcpPipe(near, reader, writer)
        await pipe.write(b"x")
        pipe.abort()
        await writer.wait_closed()
        writer.transport.get_extra_info = lambda *_: None  # type: ignore[method-assign]
        pipe.abort()
        assert pipe.undelivered == 0
        far.close()

    run(work)
