"""TCP: listen and dial on one port.

A NAT's mapping belongs to a source port, so a dial leaves from the listening port:
SO_REUSEADDR and SO_REUSEPORT on both sockets, bind before connect.  Two such dials
that cross are one connection (RFC 9293 section 3.5, simultaneous open).
"""

import asyncio
import contextlib
import errno
import fcntl
import socket
import struct
import sys
import termios

from ..errors import AddressError, DialError, DialFailure
from ..multiaddr import Multiaddr

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

    @classmethod
    async def wrap(cls, sock: socket.socket) -> "TcpPipe":
        """Take over a connected socket."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader, writer = await asyncio.open_connection(sock=sock, limit=_READ)
        return cls(sock, reader, writer)

    async def read(self) -> bytes:
        return await self._reader.read(_READ)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def end(self) -> None:
        await self._writer.drain()
        self._writer.write_eof()

    @property
    def undelivered(self) -> int:
        queued = self._writer.transport.get_write_buffer_size()
        return queued + _unacknowledged(self._sock)

    def abort(self) -> None:
        """With RST where something is not acknowledged.

        The kernel would repeat it for minutes after the connection's death, and hold the
        pair of addresses that a new dial needs.
        """
        if _unacknowledged(self._sock):
            _linger_none(self._sock)
        self._writer.transport.abort()


def reusable_socket(local: tuple[str, int], *, shared: bool = True) -> socket.socket:
    """A non-blocking TCP socket bound so that others may share its port, if it is `shared`."""
    family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(local)
    except OSError:
        sock.close()
        raise
    return sock


def addresses(sock: socket.socket) -> tuple[Multiaddr, Multiaddr]:
    """Local and remote multiaddr of a connected socket."""
    ours, theirs = sock.getsockname(), sock.getpeername()
    return (
        Multiaddr.from_socket(ours[0], ours[1], "tcp"),
        Multiaddr.from_socket(theirs[0], theirs[1], "tcp"),
    )


def listen(address: Multiaddr, backlog: int = 128) -> socket.socket:
    """A listening socket.  Raises OSError, AddressError."""
    if address.transport != "tcp":
        raise AddressError(f"{address} is not a TCP address")
    # Shared only once it listens: with the option before, a second listener would get no error
    # and half of the connections.  Dials need it to leave from the same port.
    sock = reusable_socket(address.socket_address, shared=False)
    try:
        sock.listen(backlog)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        sock.close()
        raise
    return sock


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
        raise DialError(address, DialFailure.TIMEOUT, f"no answer in {timeout:g} s") from error
    except OSError as error:
        _drop(sock)
        failure = _FAILURES.get(error.errno or 0, DialFailure.UNREACHABLE)
        raise DialError(address, failure, error.strerror or str(error)) from error
    except BaseException:
        _drop(sock)
        raise
    return sock


def _drop(sock: socket.socket | None) -> None:
    """Close with RST rather than linger in TIME_WAIT on the shared port."""
    if sock is not None:
        _linger_none(sock)
        sock.close()


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes sent and not acknowledged; 0 of a closed socket."""
    answer = bytearray(4)
    with contextlib.suppress(OSError, ValueError):
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, answer)
    return int.from_bytes(answer, sys.byteorder)


def _linger_none(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is closed
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
