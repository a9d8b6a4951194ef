"""The sockets of a node: listening, and dialing direct addresses from the listening ports."""

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING

from .. import dcutr
from ..errors import AddressError, DialError, DialFailure, TraversalError
from ..gater import Gater
from ..ip_scope import party
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from . import tcp
from .connection import Connection
from .interfaces import interface_addresses
from .net import own_address
from .quic_timers import QuicTimers
from .sockets import TRANSPORTS, Sockets

if TYPE_CHECKING:
    from .quic import QuicEndpoint

MAX_PENDING_INBOUND = 256
MAX_PENDING_PER_IP = 32
_FIRST_WORDS = 1.0  # seconds for a dialer's proposal


class Transports:
    """`on_connection` gets every connection once it is secure."""

    def __init__(self, sockets: Sockets, quic: QuicTimers, gater: Gater | None = None) -> None:
        self._gater = gater or Gater()
        self._sockets, self._timers = sockets, quic
        self._tcp: list[tuple[socket.socket, str]] = []  # with their transports
        self._quic: list[QuicEndpoint] = []
        self._dialing: dict[int, QuicEndpoint] = {}  # by IP version, of those who do not listen
        self._binding = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepted: set[socket.socket] = set()  # whose tasks have not begun
        self._closed = False
        self._pending: Counter[str] = Counter()  # handshakes under way, by party
        self._client_towards: Counter[tuple[str, int]] = Counter()
        self.on_connection: Callable[[Connection], None] = _refuse

    async def listen(self, address: Multiaddr) -> Multiaddr:
        """Open a listening socket; port 0 takes a free one.  Raises OSError, AddressError."""
        if address.transport in TRANSPORTS:
            self._sockets.check_listening(address.transport)
            sock = tcp.listen(address)
            self._tcp.append((sock, address.transport))
            self._spawn(self._accept_loop(sock, address.transport))
            name = sock.getsockname()
            return Multiaddr.from_socket(name[0], name[1], address.transport)
        if address.transport == "quic-v1":
            endpoint = await self._bind_quic(address)
            endpoint.on_connection = self._on_quic
            endpoint.may_accept = self._gater.may_accept
            self._quic.append(endpoint)
            return endpoint.local
        raise AddressError(f"cannot listen on {address}")

    @property
    def listening(self) -> tuple[Multiaddr, ...]:
        """Where we listen, with the IPs of the interfaces in a wildcard's place.

        Of each family the one that the default route leads out by is the first.
        """
        found = [e.local for e in self._quic]
        for sock, transport in self._tcp:
            name = sock.getsockname()
            found.append(Multiaddr.from_socket(name[0], name[1], transport))
        return tuple(dict.fromkeys(one for address in found for one in _concrete(address)))

    @property
    def handshakes(self) -> int:
        """Inbound ones that are under way."""
        return self._pending.total() + sum(endpoint.handshakes for endpoint in self._quic)

    def supports(self, address: Multiaddr) -> bool:
        """Whether we listen on its transport and family, and so can dial it with our port."""
        return address.transport in dcutr.TRANSPORTS and any(
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
        answered: Callable[[], None] | None = None,
    ) -> Connection:
        """Dial from the listening port, or a `fresh` one.  `client` is the security role.

        Both are TCP's: QUIC has one socket, and who dials is the client.  `timeout` (seconds)
        includes the handshakes.  `answered` is called once somebody there says something.
        Raises DialError.
        """
        if not self._gater.may_dial(address, peer):
            raise DialError(address, DialFailure.DENIED, "the gater does not let us")
        if address.transport == "quic-v1":
            endpoint = self._endpoint_for(address) or await self._dialing_endpoint(address)
            return await endpoint.dial(address, peer, timeout, answered)
        if address.transport not in TRANSPORTS:
            raise DialError(address, DialFailure.UNSUPPORTED, "transport is not spoken here")
        source = None if fresh or address.transport != "tcp" else self._source_for(address)
        return await self._sockets.dial(
            address, source, peer, timeout, client=client, answered=answered
        )

    async def punch(
        self, address: Multiaddr, interval: tuple[float, float], may: Callable[[], bool]
    ) -> None:
        """QUIC side B of a hole punch: random datagrams until cancelled, or `may` says no."""
        endpoint = self._endpoint_for(address)
        if endpoint is not None and self._gater.may_dial(address, None):
            await endpoint.punch(address, interval, may)

    @contextlib.contextmanager
    def client_towards(self, addresses: tuple[Multiaddr, ...]) -> Iterator[None]:
        """Within this, a TCP connection *from* one of these addresses finds us in the client role.

        DCUtR makes A the client even where B's SYN reached A's listening socket first.  One
        that comes from another port of these IPs is B behind a NAT that maps by destination, or a
        third peer behind the same NAT: a dialer speaks first, and B does not.
        """
        expected = [a.socket_address for a in addresses if a.transport == "tcp"]
        self._client_towards.update(expected)
        try:
            yield
        finally:
            self._client_towards -= Counter(expected)

    async def close(self) -> None:
        """Close every socket, also those that are being opened."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sock in (*self._accepted, *(listener for listener, _ in self._tcp)):
            sock.close()
        for endpoint in (*self._quic, *self._dialing.values()):
            endpoint.close()
        self._dialing.clear()
        self._accepted.clear()
        self._tcp.clear()
        self._quic.clear()

    # Private.

    async def _accept_loop(self, listener: socket.socket, transport: str) -> None:
        while True:
            try:
                sock, name = await tcp.accept(listener)
            except OSError:
                await asyncio.sleep(0.05)  # out of descriptors: give some time to come back
                continue
            whose = party(ipaddress.ip_address(name[0]))
            total, mine = self._pending.total(), self._pending[whose]
            full = total >= MAX_PENDING_INBOUND or mine >= MAX_PENDING_PER_IP
            remote = Multiaddr.from_socket(name[0], name[1], transport)
            if full or not self._gater.may_accept(remote):
                sock.close()
                continue
            self._pending[whose] += 1
            self._accepted.add(sock)
            self._spawn(self._secure_inbound(sock, transport, whose))

    async def _secure_inbound(self, sock: socket.socket, transport: str, whose: str) -> None:
        self._accepted.discard(sock)
        try:
            connection = await self._sockets.accept(sock, transport, self._are_client)
        except (TraversalError, OSError):
            sock.close()
            return
        finally:
            self._pending -= Counter((whose,))
        self.on_connection(connection)

    async def _are_client(self, pipe: tcp.TcpPipe, remote: Multiaddr) -> bool:
        if remote.socket_address in self._client_towards:
            return True
        if not any(host == str(remote.ip) for host, _ in self._client_towards):
            return False
        proposals = [name.encode() for name in self._sockets.security.protocols]
        return not await pipe.speaks_first(proposals, _FIRST_WORDS)

    async def _bind_quic(self, address: Multiaddr) -> "QuicEndpoint":
        from .quic import QuicEndpoint  # a third of what importing a node costs: not for TCP alone

        security = self._sockets.security
        endpoint = await QuicEndpoint.bind(
            security.identity, address, self._timers, security.key_log
        )
        if self._closed:  # while it was bound: nobody would close it
            endpoint.close()
            raise OSError(errno.ESHUTDOWN, "the node is closed")
        return endpoint

    def _on_quic(self, connection: Connection) -> None:
        self.on_connection(connection)

    def _source_for(self, address: Multiaddr) -> tuple[str, int] | None:
        for sock in (sock for sock, transport in self._tcp if transport == "tcp"):
            host, port = sock.getsockname()[:2]
            loopback = host.startswith("127.") or host == "::1"
            reachable = not loopback or (address.ip is not None and address.ip.is_loopback)
            if (":" in host) == (":" in address.socket_address[0]) and reachable:
                return host, port
        return None

    async def _dialing_endpoint(self, address: Multiaddr) -> "QuicEndpoint":
        """A socket for dials alone, where we do not listen in that family.  Raises DialError."""
        version = address.ip.version if address.ip else 4
        async with self._binding:
            if version not in self._dialing:
                wildcard = Multiaddr.from_socket("::" if version == 6 else "0.0.0.0", 0, "quic-v1")
                try:
                    endpoint = await self._bind_quic(wildcard)
                except OSError as error:
                    reason = error.strerror or str(error)
                    raise DialError(address, DialFailure.UNSUPPORTED, reason) from error
                endpoint.accepting = False
                self._dialing[version] = endpoint
        return self._dialing[version]

    def _endpoint_for(self, address: Multiaddr) -> "QuicEndpoint | None":
        version = address.ip.version if address.ip else None
        matching = (e for e in self._quic if e.local.ip and e.local.ip.version == version)
        return next(matching, None)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _refuse(connection: Connection) -> None:
    connection.abort("not accepting")


def _concrete(address: Multiaddr) -> list[Multiaddr]:
    if address.ip is None or not address.ip.is_unspecified:
        return [address]
    first = own_address(str(address.ip))
    others = [str(ip) for ip in interface_addresses(address.ip.version) if not ip.is_loopback]
    port, transport = address.port or 0, address.transport or ""
    return [Multiaddr.from_socket(own, port, transport) for own in dict.fromkeys((first, *others))]
