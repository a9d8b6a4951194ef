"""From a TCP socket to a connection: what may lie between, then what secures it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from socket import socket

from .. import yamux
from ..errors import (
    AddressError,
    DialError,
    DialFailure,
    PeerIdMismatchError,
    SecurityRefusedError,
    TraversalError,
)
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from ..security import Security
from . import tcp, websocket
from .connection import Connection, Direction
from .stream import BytePipe
from .tcp import TcpPipe
from .upgrade import HANDSHAKE_TIMEOUT, upgrade
from .websocket import WebSocketOptions

TRANSPORTS = ("tcp", "ws", "wss")
Role = Callable[[TcpPipe, Multiaddr], Awaitable[bool]]


@dataclass(frozen=True)
class Sockets:
    """What every connection over TCP is made with."""

    security: Security
    limits: yamux.Limits | None = None
    websocket: WebSocketOptions = field(default_factory=WebSocketOptions)

    def check_listening(self, transport: str) -> None:
        """Raises AddressError where something lacks to listen on this transport."""
        if transport != "tcp" and (lacking := websocket.missing()):
            raise AddressError(lacking)
        if transport == "wss" and self.websocket.server is None:
            raise AddressError("/tls/ws takes a certificate: NodeOptions.websocket")

    async def dial(
        self,
        address: Multiaddr,
        source: tuple[str, int] | None,
        peer: PeerId | None,
        timeout: float,
        *,
        client: bool = True,
        answered: Callable[[], None] | None = None,
    ) -> Connection:
        """Connect from `source` and secure, both within `timeout` seconds.  Raises DialError.

        Another time, from another port, where the remote does not speak what we propose first.
        """
        if address.transport != "tcp" and (lacking := websocket.missing()):
            raise DialError(address, DialFailure.UNSUPPORTED, lacking)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        protocols = self.security.order(peer)
        for protocol in protocols:
            sock = await tcp.dial(address, source, deadline - loop.time())
            if answered is not None:
                answered()
            try:
                return await self.secure(
                    sock, address, peer, client=client, protocol=protocol,
                    timeout=deadline - loop.time(),
                )  # fmt: skip
            except SecurityRefusedError:
                source = None
        reason = f"the remote speaks none of {protocols}"
        raise DialError(address, DialFailure.HANDSHAKE, reason)

    async def secure(
        self,
        sock: socket,
        address: Multiaddr,
        peer: PeerId | None,
        *,
        client: bool,
        protocol: str | None = None,
        timeout: float = HANDSHAKE_TIMEOUT,
    ) -> Connection:
        """Upgrade a dialed socket within `timeout` seconds.

        Raises DialError, and SecurityRefusedError where another protocol may be proposed.
        """
        try:
            async with asyncio.timeout(timeout):
                with _closing(sock):
                    local, remote = tcp.addresses(sock, address.transport or "tcp")
                    pipe = await self._pipe_out(sock, address)
                return await upgrade(
                    pipe, self.security, client=client, expected=peer, local=local, remote=remote,
                    direction=Direction.OUTBOUND, protocol=protocol, limits=self.limits,
                    timeout=timeout,
                )  # fmt: skip
        except SecurityRefusedError:
            raise
        except PeerIdMismatchError as error:
            raise DialError(address, DialFailure.WRONG_PEER, str(error)) from error
        except (TraversalError, OSError) as error:  # TimeoutError is an OSError
            reason = str(error) or type(error).__name__
            raise DialError(address, DialFailure.HANDSHAKE, reason) from error

    async def accept(self, sock: socket, transport: str, are_client: Role) -> Connection:
        """Upgrade an accepted socket, in the role that `are_client` says.

        Raises TraversalError, OSError.
        """
        tls = self.websocket.server if transport == "wss" else None
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            with _closing(sock):
                local, remote = tcp.addresses(sock, transport)
                lower = await TcpPipe.wrap(sock, tls)
            try:
                client = transport == "tcp" and await are_client(lower, remote)
                pipe: BytePipe = lower if transport == "tcp" else await websocket.accept(lower)
            except BaseException:
                lower.abort()
                raise
            return await upgrade(
                pipe, self.security, client=client, expected=None, local=local, remote=remote,
                direction=Direction.INBOUND, limits=self.limits,
            )  # fmt: skip

    async def _pipe_out(self, sock: socket, address: Multiaddr) -> BytePipe:
        if address.transport == "tcp":
            return await TcpPipe.wrap(sock)
        tls = self.websocket.trusting() if address.transport == "wss" else None
        lower = await TcpPipe.wrap(sock, tls, address.server_name or str(address.ip))
        try:
            return await websocket.connect(lower, address)
        except BaseException:
            lower.abort()
            raise


@contextlib.contextmanager
def _closing(sock: socket) -> Iterator[None]:
    """Close it if something fails."""
    try:
        yield
    except BaseException:
        sock.close()
        raise
