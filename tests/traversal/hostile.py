"""What a hostile peer needs that a node of ours would never do, and the measure of its damage."""

import asyncio
import contextlib
import socket
import struct
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

from testbed.traversal import DialError, Multiaddr, Node, PrivateKey
from testbed.traversal.aio import tcp
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.muxed import MuxedConnection
from testbed.traversal.aio.sockets import Sockets
from testbed.traversal.security import Security

from .nodes import address, nodes

MIB = 2**20
SYN, ACK, FIN, RST = 1, 2, 4, 8
DATA, WINDOW, PING, AWAY = 0, 1, 2, 3


@contextlib.asynccontextmanager
async def siege(transport: str, mib: int, **victim: Any) -> AsyncIterator[tuple[Node, Node]]:
    """An attacker and its victim; afterwards the victim must still serve a stranger.

    Both live in this process, so that `mib`, the most that memory may grow, bounds the
    victim from above.  Nothing unexpected may have reached the loop's exception handler.
    """
    leaked: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: leaked.append(context))
    async with nodes(transport, {}, victim) as (evil, target):
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            yield evil, target
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await serves(target, transport)
    assert not leaked, leaked[:3]
    assert peak - before < mib * MIB, f"memory grew by {(peak - before) / MIB:.1f} MiB"


async def serves(target: Node, transport: str) -> None:
    """A stranger dials and pings; one that is turned away by a limit tries again for a while."""
    async with asyncio.timeout(10), AsyncExitNodes(transport) as stranger:
        while True:
            try:
                await stranger.dial(address(target))
                break
            except DialError:
                await asyncio.sleep(0.1)
        assert await stranger.ping(target.peer) < 5


class AsyncExitNodes:
    """One fresh node."""

    def __init__(self, transport: str) -> None:
        self._nodes = nodes(transport, {})

    async def __aenter__(self) -> Node:
        [node] = await self._nodes.__aenter__()
        return node

    async def __aexit__(self, *details: Any) -> None:
        await self._nodes.__aexit__(*details)


def frame(kind: int, flags: int, stream: int, length: int, data: bytes = b"") -> bytes:
    """A Yamux frame with whatever is in its header."""
    return struct.pack("!BBHII", 0, kind, flags, stream, length) + data


async def muxed(
    target: Node, identity: PrivateKey | None = None, *, receive_buffer: int = 0
) -> MuxedConnection:
    """A secured TCP connection to the target from a port of its own, not yet started."""
    goal = target.listening()[0]
    sock = tcp.reusable_socket(("127.0.0.1", 0))
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(sock, goal.socket_address)
    key = identity or PrivateKey.generate()
    connection = await Sockets(Security(key)).secure(sock, goal, target.peer, client=True)
    assert isinstance(connection, MuxedConnection)
    return connection


async def send_raw(connection: Connection, data: bytes) -> None:
    """Bytes for the target's muxer, past our own."""
    assert isinstance(connection, MuxedConnection)
    await connection._pipe.write(connection._channel.seal(data))


class Bystander:
    """A listening socket that must (not) be dialed."""

    def __init__(self, ip: str) -> None:
        self._socket = socket.create_server((ip, 0))
        self._socket.setblocking(False)
        host, port = self._socket.getsockname()
        self.address = Multiaddr.from_socket(host, port, "tcp")

    def visits(self) -> int:
        """How many connections have come in since the last look."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.accept()[0].close()
                count += 1
        return count

    def close(self) -> None:
        """Free the port."""
        self._socket.close()
