"""A UDP socket that is read in batches: what came since the last look is handed over at once.

asyncio's own transport takes one datagram a turn of the loop, with a `select` before each.
"""

import asyncio
import contextlib
import socket
import sys
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, cast

from .packet_info import PacketInfo

_BATCH = 64  # datagrams a turn: others are to have theirs, too
_LARGEST = 65536
_ROOM = 4 * 1024 * 1024  # bytes of the kernel's buffers, for what comes while others have the CPU
_QUEUE = 1024  # datagrams that wait for the kernel's buffer; more are dropped, as a router would

_SNDBUFFORCE, _RCVBUFFORCE = 32, 33  # asm-generic/socket.h; `socket` does not name them

Datagrams = list[tuple[bytes, Any]]


def widen(sock: socket.socket) -> None:
    """As large buffers as the system grants; Linux gives 90 datagrams room by itself.

    A fast sender fills that in a few milliseconds, and what is lost there is taken for congestion.
    """
    for plain, forced in ((socket.SO_RCVBUF, _RCVBUFFORCE), (socket.SO_SNDBUF, _SNDBUFFORCE)):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, plain, _ROOM)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # for who may administer the network
                sock.setsockopt(socket.SOL_SOCKET, forced, _ROOM)


class UdpSocket:
    """`arrived` is called with the datagrams of a batch and where they came from."""

    def __init__(self, sock: socket.socket, arrived: Callable[[Datagrams], None]) -> None:
        self._sock, self._arrived = sock, arrived
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[bytes, Any]] = deque()
        self._closed = False
        self._info = PacketInfo.of(sock)
        widen(sock)
        self.name: Any = sock.getsockname()
        self._loop.add_reader(sock, self._read)

    def sendto(self, data: bytes, address: Any) -> None:
        """Send now, or as soon as the kernel has room."""
        if self._closed:
            return
        if self._waiting:
            self._enqueue(data, address)
            return
        try:
            self._send(data, address)
        except (BlockingIOError, InterruptedError):
            self._enqueue(data, address)
            self._loop.add_writer(self._sock, self._write)
        except OSError:
            return  # no route, or not allowed: as good as lost

    def close(self) -> None:
        """Nothing is sent or received any more."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()

    def _send(self, data: bytes, address: Any) -> None:
        if self._info is None:
            self._sock.sendto(data, address)
        else:
            self._info.send(self._sock, data, address)

    def _receive(self) -> tuple[bytes, Any]:
        if self._info is None:
            return self._sock.recvfrom(_LARGEST)
        return self._info.receive(self._sock, _LARGEST)

    def _enqueue(self, data: bytes, address: Any) -> None:
        if len(self._waiting) < _QUEUE:
            self._waiting.append((data, address))

    def _write(self) -> None:
        while self._waiting:
            data, address = self._waiting[0]
            try:
                self._send(data, address)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                pass
            self._waiting.popleft()
        self._loop.remove_writer(self._sock)

    def _read(self) -> None:
        batch: Datagrams = []
        with contextlib.suppress(OSError):  # BlockingIOError: that was all
            while len(batch) < _BATCH:
                batch.append(self._receive())
        if batch:
            self._arrived(batch)


class _Plain(asyncio.DatagramProtocol):
    """The loop's own transport, where a loop watches no sockets (Windows' default)."""

    def __init__(self, arrived: Callable[[Datagrams], None]) -> None:
        self._arrived = arrived
        self.name: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.name = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._arrived([(data, addr)])

    def sendto(self, data: bytes, address: Any) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(data, address)

    def close(self) -> None:
        self._transport.close()


class Carrier(Protocol):
    """What carries datagrams; `name` is the address that it is bound to."""

    name: Any

    def sendto(self, data: bytes, address: Any) -> None: ...
    def close(self) -> None: ...


async def open_carrier(sock: socket.socket, arrived: Callable[[Datagrams], None]) -> Carrier:
    """For a socket that is bound and does not block."""
    try:
        return UdpSocket(sock, arrived)
    except NotImplementedError:
        loop = asyncio.get_running_loop()
        return (await loop.create_datagram_endpoint(lambda: _Plain(arrived), sock=sock))[1]
