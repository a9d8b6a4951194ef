"""A link between two nodes on loopback that is slow, loses packets, or stands still."""

import asyncio
import contextlib
import functools
import random
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from testbed.traversal import Multiaddr

_QUEUE = 64 * 1024  # bytes that wait in the link; a datagram beyond them is dropped
_CHUNK = 4096


class SlowLink:
    """`address` is where the far end is reached through the link.

    `rate` is in bytes a second and each direction, 0 for no limit; `loss` is the share of
    datagrams that are lost.
    """

    def __init__(self, address: Multiaddr, rate: float, loss: float, seed: int) -> None:
        self.address = address
        self.rate, self.loss = rate, loss
        self.random = random.Random(seed)
        self._moving = asyncio.Event()
        self._moving.set()

    def stall(self) -> None:
        """Carry nothing from now on, and say nothing."""
        self._moving.clear()

    def resume(self) -> None:
        """Carry again."""
        self._moving.set()

    async def pace(self, count: int) -> None:
        """The time that `count` bytes take."""
        await self._moving.wait()
        if self.rate:
            await asyncio.sleep(count / self.rate)


@contextlib.asynccontextmanager
async def slow_link(
    far: Multiaddr, rate: float = 0, loss: float = 0.0, seed: int = 1
) -> AsyncIterator[SlowLink]:
    """A link to a node's TCP or QUIC address on loopback."""
    link = SlowLink(far, rate, loss, seed)
    carry = _tcp if far.transport == "tcp" else _udp
    async with carry(link, far):
        yield link


def _named(link: SlowLink, far: Multiaddr, port: int) -> None:
    near = Multiaddr.from_socket("127.0.0.1", port, far.transport or "")
    link.address = near.with_peer(far.peer_id) if far.peer_id else near


@contextlib.asynccontextmanager
async def _tcp(link: SlowLink, far: Multiaddr) -> AsyncIterator[None]:
    tasks: set[asyncio.Task[None]] = set()
    writers: set[asyncio.StreamWriter] = set()

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await link.pace(len(data))
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:
            writer.transport.abort()
        finally:
            writers.add(writer)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(*far.socket_address, limit=_CHUNK)
        for ends in ((reader, there[1]), (there[0], writer)):
            tasks.add(asyncio.create_task(carry(*ends)))

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, limit=_CHUNK)
    for sock in server.sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE)
    _named(link, far, server.sockets[0].getsockname()[1])
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()


class _Hop(asyncio.DatagramProtocol):
    """One socket of the link: what comes in here leaves by the other, in its time."""

    def __init__(self, link: SlowLink) -> None:
        self.link = link
        self.forward: Callable[[bytes], None] = lambda _: None
        self.came_from: Any = None
        self.transport: asyncio.DatagramTransport | None = None
        self.queue: deque[bytes] = deque()
        self.filled = asyncio.Event()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.came_from = addr
        full = sum(map(len, self.queue)) > _QUEUE
        if not full and self.link.random.random() >= self.link.loss:
            self.queue.append(data)
            self.filled.set()

    async def carry(self) -> None:
        while True:
            await self.filled.wait()
            self.filled.clear()
            while self.queue:
                data = self.queue.popleft()
                await self.link.pace(len(data))
                self.forward(data)

    def send(self, data: bytes, to: Any) -> None:
        if to is not None and self.transport is not None:
            self.transport.sendto(data, to)


def _itself(hop: _Hop) -> _Hop:
    return hop


@contextlib.asynccontextmanager
async def _udp(link: SlowLink, far: Multiaddr) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    near, out = _Hop(link), _Hop(link)
    for hop in (near, out):
        itself = functools.partial(_itself, hop)
        await loop.create_datagram_endpoint(itself, local_addr=("127.0.0.1", 0))
    near.forward = lambda data: out.send(data, far.socket_address)
    out.forward = lambda data: near.send(data, near.came_from)
    assert near.transport is not None
    _named(link, far, near.transport.get_extra_info("sockname")[1])
    tasks = [asyncio.create_task(hop.carry()) for hop in (near, out)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for hop in (near, out):
            if hop.transport is not None:
                hop.transport.close()
