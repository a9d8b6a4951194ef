"""The sockets of a node: listening, and dialing direct addresses from the listening ports."""

import asyncio
import contextlib
import ipaddress
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator

from .. import yamux
from ..errors import (
    AddressError,
    DialError,
    DialFailure,
    PeerIdMismatchError,
    TraversalError,
)
from ..ip_scope import party
from ..keys import PrivateKey
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from . import tcp
from .connection import Connection, Direction
from .net import own_address
from .quic import QuicEndpoint
from .quic_connection import QuicTimers
from .upgrade import HANDSHAKE_TIMEOUT, upgrade

MAX_PENDING_INBOUND = 256
MAX_PENDING_PER_IP = 32


class Transports:
    """`on_connection` gets every connection once it is secure."""

    def __init__(self, identity: PrivateKey, limits: yamux.Limits, quic: QuicTimers) -> None:
        self._identity, self._limits, self._timers = identity, limits, quic
        self._tcp: list[socket.socket] = []
        self._quic: list[QuicEndpoint] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending: Counter[str] = Counter()  # handshakes under way, by party
        self._client_towards: Counter[str] = Counter()
        self.on_connection: Callable[[Connection], None] = _refuse

    async def listen(self, address: Multiaddr) -> Multiaddr:
        """Open a listening socket; port 0 takes a free one.  Raises OSError, AddressError."""
        if address.transport == "tcp":
            sock = tcp.listen(address)
            self._tcp.append(sock)
            self._spawn(self._accept_loop(sock))
            name = sock.getsockname()
            return Multiaddr.from_socket(name[0], name[1], "tcp")
        if address.transport == "quic-v1":
            endpoint = await QuicEndpoint.bind(self._identity, address, self._timers)
            endpoint.on_connection = self._on_quic
            self._quic.append(endpoint)
            return endpoint.local
        raise AddressError(f"cannot listen on {address}")

    @property
    def listening(self) -> tuple[Multiaddr, ...]:
        """Where we listen, with a concrete IP in a wildcard's place."""
        found = [e.local for e in self._quic]
        for name in (s.getsockname() for s in self._tcp):
            found.append(Multiaddr.from_socket(name[0], name[1], "tcp"))
        return tuple(_concrete(address) for address in found)

    def supports(self, address: Multiaddr) -> bool:
        """Whether we listen on its transport and family, and so can dial it with our port."""
        return any(
            a.transport == address.transport and a.ip and address.ip
            and a.ip.version == address.ip.version
            for a in self.listening
        )  # fmt: skip

    async def dial(
        self,
        address: Multiaddr,
        peer: PeerId | None,
        timeout: float,
        *,
        client: bool = True,
        fresh: bool = False,
    ) -> Connection:
        """Dial from the listening port, or a `fresh` one.  `client` is the security role.

        Both are TCP's: QUIC has one socket, and who dials is the client.  `timeout` (seconds)
        includes the handshakes.  Raises DialError.
        """
        if address.transport == "quic-v1":
            endpoint = self._endpoint_for(address)
            if endpoint is None:
                reason = "no QUIC socket of that address family"
                raise DialError(address, DialFailure.UNSUPPORTED, reason)
            return await endpoint.dial(address, peer, timeout)
        if address.transport != "tcp":
            raise DialError(address, DialFailure.UNSUPPORTED, "transport is not spoken here")
        return await dial_tcp(
            address, None if fresh else self._source_for(address), self._identity, peer, timeout,
            client=client, limits=self._limits,
        )  # fmt: skip

    async def punch(self, address: Multiaddr, interval: tuple[float, float]) -> None:
        """QUIC side B of a hole punch: random datagrams until cancelled."""
        endpoint = self._endpoint_for(address)
        if endpoint is not None:
            await endpoint.punch(address, interval)

    @contextlib.contextmanager
    def client_towards(self, addresses: tuple[Multiaddr, ...]) -> Iterator[None]:
        """Within this, a TCP connection *from* one of these IPs finds us in the client role.

        DCUtR makes A the client even where B's SYN reached A's listening socket first.
        """
        ips = [str(a.ip) for a in addresses]
        self._client_towards.update(ips)
        try:
            yield
        finally:
            self._client_towards -= Counter(ips)

    async def close(self) -> None:
        """Close every socket."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sock in self._tcp:
            sock.close()
        for endpoint in self._quic:
            endpoint.close()
        self._tcp.clear()
        self._quic.clear()

    # Private.

    async def _accept_loop(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, name = await loop.sock_accept(listener)
            except OSError:
                await asyncio.sleep(0.05)  # out of descriptors: give some time to come back
                continue
            whose = party(ipaddress.ip_address(name[0]))
            total, mine = self._pending.total(), self._pending[whose]
            if total >= MAX_PENDING_INBOUND or mine >= MAX_PENDING_PER_IP:
                sock.close()
                continue
            self._pending[whose] += 1
            self._spawn(self._secure_inbound(sock, whose))

    async def _secure_inbound(self, sock: socket.socket, whose: str) -> None:
        try:
            local, remote = tcp.addresses(sock)
            client = self._client_towards[str(remote.ip)] > 0
            pipe = await tcp.TcpPipe.wrap(sock)
            connection = await upgrade(
                pipe, self._identity, client=client, expected=None, local=local, remote=remote,
                direction=Direction.INBOUND, limits=self._limits,
            )  # fmt: skip
        except (TraversalError, OSError):
            sock.close()
            return
        finally:
            self._pending -= Counter((whose,))
        self.on_connection(connection)

    def _on_quic(self, connection: Connection) -> None:
        self.on_connection(connection)

    def _source_for(self, address: Multiaddr) -> tuple[str, int] | None:
        for sock in self._tcp:
            host, port = sock.getsockname()[:2]
            loopback = host.startswith("127.") or host == "::1"
            reachable = not loopback or (address.ip is not None and address.ip.is_loopback)
            if (":" in host) == (":" in address.socket_address[0]) and reachable:
                return host, port
        return None

    def _endpoint_for(self, address: Multiaddr) -> QuicEndpoint | None:
        version = address.ip.version if address.ip else None
        matching = (e for e in self._quic if e.local.ip and e.local.ip.version == version)
        return next(matching, None)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def dial_tcp(
    address: Multiaddr,
    source: tuple[str, int] | None,
    identity: PrivateKey,
    peer: PeerId | None,
    timeout: float,
    *,
    client: bool = True,
    limits: yamux.Limits | None = None,
) -> Connection:
    """Connect and secure, both within `timeout` seconds.  Raises DialError."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    sock = await tcp.dial(address, source, timeout)
    left = deadline - loop.time()
    return await secure(sock, identity, address, peer, client=client, limits=limits, timeout=left)


async def secure(
    sock: socket.socket,
    identity: PrivateKey,
    address: Multiaddr,
    peer: PeerId | None,
    *,
    client: bool,
    limits: yamux.Limits | None = None,
    timeout: float = HANDSHAKE_TIMEOUT,
) -> Connection:
    """Upgrade a dialed socket within `timeout` seconds.  Raises DialError."""
    try:
        local, remote = tcp.addresses(sock)
        pipe = await tcp.TcpPipe.wrap(sock)
        return await upgrade(
            pipe, identity, client=client, expected=peer, local=local, remote=remote,
            direction=Direction.OUTBOUND, limits=limits, timeout=timeout,
        )  # fmt: skip
    except PeerIdMismatchError as error:
        raise DialError(address, DialFailure.WRONG_PEER, str(error)) from error
    except (TraversalError, OSError) as error:  # TimeoutError is an OSError
        reason = str(error) or type(error).__name__
        raise DialError(address, DialFailure.HANDSHAKE, reason) from error


def _refuse(connection: Connection) -> None:
    connection.abort("not accepting")


def _concrete(address: Multiaddr) -> Multiaddr:
    if address.ip is None or not address.ip.is_unspecified:
        return address
    own = own_address(str(address.ip))
    return Multiaddr.from_socket(own, address.port or 0, address.transport or "")
