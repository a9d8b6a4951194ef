"""Peers that are to stay reachable: their addresses, the way back to them, and our networks."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence

from ..errors import DeadlineError, TraversalError
from ..events import NetworkChanged, PeerBack, PeerLost
from ..identify import PeerInfo
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from .connection import Connection
from .host import Host
from .net import is_own, own_address
from .sockets import TRANSPORTS

_MAX_PEERS = 1024
_MAX_ADDRESSES = 32
_RACE = 0.25  # seconds between the dials of a race (RFC 8305 section 5: "Connection Attempt Delay")
_PAUSES = (0.2, 10.0)
_LOOK = 1.0  # seconds between looks at our own addresses

Dial = Callable[[Sequence[Multiaddr], PeerId, float], Awaitable[Connection]]


class PeerManager:
    """Remembers addresses; finds lost peers again, by all relays at once; follows our networks.

    `dial` tries addresses of one kind; it raises DialError.  `presentable` says which addresses
    of a stranger's word are dialed.
    """

    def __init__(
        self,
        host: Host,
        dial: Dial,
        dial_timeout: float,
        presentable: Callable[[Multiaddr], bool],
    ) -> None:
        self._host, self._dial, self._timeout = host, dial, dial_timeout
        self._presentable = presentable
        self._known: dict[PeerId, dict[Multiaddr, None]] = {}  # the latest last
        self._seeking: dict[PeerId, asyncio.Task[None]] = {}
        self._kept: set[PeerId] = set()
        self._looking: asyncio.Task[None] | None = None
        self.network_hooks: list[Callable[[], None]] = []
        host.connected_hooks.append(self._on_connected)
        host.closed_hooks.append(self._on_closed)

    # Addresses.

    @property
    def known(self) -> int:
        """How many peers are remembered."""
        return len(self._known)

    def remember(self, peer: PeerId, addresses: Iterable[Multiaddr]) -> None:
        """Addresses at which the peer may be; the latest count most, and few are kept."""
        known = self._known.pop(peer, {})
        for address in addresses:
            if address.is_dialable:
                known.pop(address.with_peer(peer), None)
                known[address.with_peer(peer)] = None
        for old in list(known)[:-_MAX_ADDRESSES]:
            del known[old]
        self._known[peer] = known
        for stranger in [p for p in self._known if p not in self._kept][:-_MAX_PEERS]:
            del self._known[stranger]

    def addresses(self, peer: PeerId) -> tuple[Multiaddr, ...]:
        """What is remembered, the latest first."""
        return tuple(reversed(self._known.get(peer, {})))

    def learn(self, info: PeerInfo) -> None:
        """What a peer said of itself: those of its addresses that may be dialed."""
        self.remember(info.peer, filter(self._presentable, info.addresses))

    # Peers.

    def keep(self, peer: PeerId) -> None:
        """Seek the peer whenever the last connection to it is gone, until `release`."""
        self._kept.add(peer)
        self._host.kept.add(peer)
        if self._looking is None:
            self._looking = self._host.spawn(self._follow_networks())
        if not self._host.connections_to(peer):
            self._seek(peer)

    def release(self, peer: PeerId) -> None:
        """Seek it no more."""
        self._kept.discard(peer)
        self._host.kept.discard(peer)
        if (seeking := self._seeking.pop(peer, None)) is not None:
            seeking.cancel()

    async def connection(self, peer: PeerId, timeout: float) -> Connection:
        """The best connection to a peer; without one, it is sought.  Raises DeadlineError."""
        if not (found := self._host.connections_to(peer)):
            self._seek(peer)
            return await self._host.wait_connection(peer, timeout)
        return found[0]

    # Private.

    def _on_connected(self, connection: Connection) -> None:
        if connection.peer in self._kept and len(self._host.connections_to(connection.peer)) == 1:
            self._host.emit(PeerBack(connection.peer, connection.remote, connection.relayed))

    def _on_closed(self, connection: Connection) -> None:
        peer = connection.peer
        if peer in self._kept and not self._host.closing and not self._host.connections_to(peer):
            self._host.emit(PeerLost(peer, connection.close_reason or ""))
            self._seek(peer)

    def _seek(self, peer: PeerId) -> None:
        running = self._seeking.get(peer)
        if running is None or running.done():
            self._seeking[peer] = self._host.spawn(self._until_found(peer))

    async def _until_found(self, peer: PeerId) -> None:
        pause = _PAUSES[0]
        while not self._host.connections_to(peer):
            with contextlib.suppress(TraversalError, TimeoutError):
                await self._race(peer)
                return
            if peer not in self._kept and pause > 1.0:
                return  # who waits for it asks again
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSES[1])

    async def _race(self, peer: PeerId) -> Connection:
        """Direct addresses and every circuit, one a moment after the other; the first wins."""
        known = self.addresses(peer)
        direct = [a for a in known if not a.is_relayed]
        ways = [[a] for a in known if a.is_relayed] + ([direct] if direct else [])
        if not ways:
            raise DeadlineError(f"no address of {peer} is known")
        dials = [self._host.spawn(self._after(n * _RACE, way, peer)) for n, way in enumerate(ways)]
        failure: Exception | None = None
        try:
            for finished in asyncio.as_completed(dials):
                try:
                    return await finished
                except TraversalError as error:
                    failure = error
        finally:
            for dial in dials:
                dial.cancel()
            # Cancelled dials have nothing to say.
            await asyncio.gather(*dials, return_exceptions=True)
        raise failure or DeadlineError(f"{peer} was not found")

    async def _after(self, delay: float, way: Sequence[Multiaddr], peer: PeerId) -> Connection:
        await asyncio.sleep(delay)
        return await self._dial(way, peer, self._timeout)

    async def _follow_networks(self) -> None:
        """Our own address has changed: connections of the old one are dead, say so at once."""
        before = {family: own_address(family) for family in ("0.0.0.0", "::")}
        while True:
            await asyncio.sleep(_LOOK)
            now = {family: own_address(family) for family in before}
            if now == before:
                continue
            before = now
            self._host.emit(NetworkChanged(tuple(now.values())))
            for hook in self.network_hooks:
                hook()
            for connection in self._host.connections:
                ip = connection.local.ip
                bound = connection.transport in TRANSPORTS and ip is not None and not ip.is_loopback
                if bound and ip is not None and not is_own(ip):
                    connection.abort("our address is not ours any more")
            for peer in self._kept:
                if not self._host.connections_to(peer):
                    self._seek(peer)
