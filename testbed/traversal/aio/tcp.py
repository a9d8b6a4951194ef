"""TCP: listen and dial on one port.

A NAT's mapping belongs to a source port, so a dial leaves from the listening port:
SO_REUSEADDR and SO_REUSEPORT on both sockets, bind before connect.  Two such dials
that cross are one connection (RFC 9293 section 3.5, simultaneous open).
"""

import asyncio
import contextlib
import errno
import socket
import ssl
import struct
from collections.abc import Sequence
from typing import Any

from ..errors import AddressError, DialError, DialFailure, DialTimeoutError
from ..multiaddr import Multiaddr
from .net import share_port
from .tcp_state import unacknowledged, unanswered_for

_READ = 65536
_LINGER_NONE = struct.pack("ii", 1, 0)
_FAILURES = {
    errno.ECONNREFUSED: DialFailure.REFUSED,
    errno.ETIMEDOUT: DialFailure.TIMEOUT,
    errno.EADDRNOTAVAIL: DialFailure.ADDRESS_IN_USE,
    errno.EADDRINUSE: DialFailure.ADDRESS_IN_USE,
}


class TcpPipe:
    """An established socket as a BytePipe."""

    def __init__(
        self, sock: socket.socket, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        # The socket itself: what a transport tells of it after its end depends on the loop.
        self._sock, self._reader, self._writer = sock, reader, writer
        self._early = b""

    @classmethod
    async def wrap(
        cls, sock: socket.socket, tls: ssl.SSLContext | None = None, server_name: str | None = None
    ) -> "TcpPipe":
        """Take over a connected socket, and shake hands where there is `tls`.

        With a `server_name` as a client, which demands a certificate for it.  Raises OSError.
        """
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is None or server_name is not None:
            reader, writer = await asyncio.open_connection(
                sock=sock, limit=_READ, ssl=tls, server_hostname=server_name if tls else None
            )
            return cls(sock, reader, writer)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_READ, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=tls)
        return cls(sock, reader, asyncio.StreamWriter(transport, protocol, reader, loop))

    async def speaks_first(self, words: Sequence[bytes], timeout: float) -> bool:
        """Whether the remote says one of these without being asked; what it said is read later."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not self._said(words) and len(self._early) < _READ:
                    if not (data := await self._reader.read(_READ)):
                        break
                    self._early += data
        return self._said(words)

    def _said(self, words: Sequence[bytes]) -> bool:
        return any(word in self._early for word in words)

    async def read(self) -> bytes:
        if self._early:
            early, self._early = self._early, b""
            return early
        return await self._reader.read(_READ)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def end(self) -> None:
        await self._writer.drain()
        if self._writer.can_write_eof():  # within TLS there is no half of an end
            self._writer.write_eof()

    @property
    def undelivered(self) -> int:
        queued = self._writer.transport.get_write_buffer_size()
        return queued + unacknowledged(self._sock)

    def silent_for(self) -> float | None:
        """The kernel knows: it counts since the last acknowledgement (Linux alone)."""
        return unanswered_for(self._sock)

    def abort(self) -> None:
        """With RST where something is not acknowledged.

        The kernel would repeat it for minutes after the connection's death, and hold the
        pair of addresses that a new dial needs.
        """
        if unacknowledged(self._sock):
            _linger_none(self._sock)
        self._writer.transport.abort()


def reusable_socket(local: tuple[str, int], *, shared: bool = True) -> socket.socket:
    """A non-blocking TCP socket bound so that others may share its port, if it is `shared`."""
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        share_port(sock, shared)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(local)
    except OSError:
        sock.close()
        raise
    return sock


def addresses(sock: socket.socket, transport: str = "tcp") -> tuple[Multiaddr, Multiaddr]:
    """Local and remote multiaddr of a connected socket."""
    ours, theirs = sock.getsockname(), sock.getpeername()
    return (
        Multiaddr.from_socket(ours[0], ours[1], transport),
        Multiaddr.from_socket(theirs[0], theirs[1], transport),
    )


def listen(address: Multiaddr, backlog: int = 128) -> socket.socket:
    """A listening socket.  Raises OSError, AddressError."""
    if address.transport not in ("tcp", "ws", "wss"):
        raise AddressError(f"{address} is not a TCP address")
    # Shared only once it listens: with the option before, a second listener would get no error
    # and half of the connections.  Dials need it to leave from the same port.
    sock = reusable_socket(address.socket_address, shared=False)
    try:
        sock.listen(backlog)
        share_port(sock, True)
    except OSError:
        sock.close()
        raise
    return sock


async def accept(listener: socket.socket) -> tuple[socket.socket, tuple[Any, ...]]:
    """The next connection and where it comes from.  Raises OSError.

    It stays the kernel's until somebody goes on with it: `loop.sock_accept` loses a socket, open,
    when it is cancelled in the turn in which that came.
    """
    loop = asyncio.get_running_loop()
    while True:
        readable: asyncio.Future[None] = loop.create_future()
        try:
            loop.add_reader(listener, _resolve, readable)
        except NotImplementedError:  # a loop that watches no sockets (Windows' default)
            return await loop.sock_accept(listener)
        try:
            await readable
        finally:
            loop.remove_reader(listener)
        with contextlib.suppress(BlockingIOError, InterruptedError):
            sock, name = listener.accept()
            sock.setblocking(False)
            return sock, name


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def dial(address: Multiaddr, source: tuple[str, int] | None, timeout: float) -> socket.socket:
    """Connect from `source` (ip, port), or from an ephemeral port.  Raises DialError."""
    family = socket.AF_INET6 if ":" in address.socket_address[0] else socket.AF_INET
    wildcard = "::" if family == socket.AF_INET6 else "0.0.0.0"
    loop = asyncio.get_running_loop()
    sock: socket.socket | None = None
    try:
        sock = reusable_socket(source or (wildcard, 0))
        async with asyncio.timeout(timeout):
            await loop.sock_connect(sock, address.socket_address)
        if sock.getsockname() == sock.getpeername():
            raise OSError(errno.ECONNREFUSED, "connected to itself")
    except TimeoutError as error:
        _drop(sock)
        raise DialTimeoutError(address, f"no answer in {timeout:g} s") from error
    except OSError as error:
        _drop(sock)
        failure = _FAILURES.get(error.errno or 0, DialFailure.UNREACHABLE)
        reason = error.strerror or str(error)
        if failure is DialFailure.TIMEOUT:
            raise DialTimeoutError(address, reason) from error
        raise DialError(address, failure, reason) from error
    except BaseException:
        _drop(sock)
        raise
    return sock


def _drop(sock: socket.socket | None) -> None:
    """Close with RST rather than linger in TIME_WAIT on the shared port."""
    if sock is not None:
        _linger_none(sock)
        sock.close()


def _linger_none(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is closed
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
