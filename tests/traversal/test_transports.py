"""A node's sockets: none is left open, whenever it is closed."""

import asyncio
import gc
import socket
import warnings
from collections.abc import Coroutine
from typing import Any

import pytest

from testbed.traversal import Multiaddr, Node
from testbed.traversal.aio import tcp

from .nodes import nodes, run

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("turns", range(8))
def test_an_accept_that_is_cancelled_leaves_no_socket(turns: int) -> None:
    """In one of these turns the connection is there, and nobody has it yet."""

    async def work() -> None:
        listener = tcp.listen(Multiaddr.parse("/ip4/127.0.0.1/tcp/0"))
        accepting = asyncio.ensure_future(tcp.accept(listener))
        await asyncio.sleep(0)
        with socket.create_connection(listener.getsockname()), listener:
            for _ in range(turns):
                await asyncio.sleep(0)
            accepting.cancel()
            await asyncio.wait([accepting])
            if not accepting.cancelled():
                accepting.result()[0].close()

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        run(work)
        gc.collect()
    assert [str(one.message) for one in seen] == []


def test_a_connection_whose_handshake_has_not_begun_is_closed_with_the_node() -> None:
    async def work() -> None:
        async with nodes("tcp", {}) as (node,):
            transports = node.host.transports
            came: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()
            secure = transports._secure_inbound

            def stopped(
                sock: socket.socket, transport: str, whose: str
            ) -> Coroutine[Any, Any, None]:
                came.set_result(sock)
                work = secure(sock, transport, whose)
                asyncio.get_running_loop().call_soon(work.close)  # as a task cancelled before
                return asyncio.sleep(60)

            transports._secure_inbound = stopped  # type: ignore[method-assign]
            with socket.create_connection(node.listening()[0].socket_address):
                sock = await came
                await node.close()
                assert sock.fileno() == -1

    run(work)


def test_a_socket_that_is_bound_while_the_node_closes_is_closed_too() -> None:
    async def work() -> None:
        node = Node()
        transports = node.host.transports
        address = Multiaddr.parse("/ip4/127.0.0.1/udp/0/quic-v1")
        listening = asyncio.ensure_future(transports.listen(address))
        await asyncio.sleep(0)
        await transports.close()
        [error] = await asyncio.gather(listening, return_exceptions=True)
        assert isinstance(error, OSError) or not transports.listening
        assert transports.listening == ()
        await node.close()

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", ResourceWarning)
        run(work)
        gc.collect()
    assert [str(one.message) for one in seen] == []
