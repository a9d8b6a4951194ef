"""Identify on every new connection, push on every change, observations to the manager."""

import asyncio
import contextlib
import time
from collections.abc import Callable

from .. import identify
from ..autonat_v1 import RateLimiter, RateLimits
from ..envelope import PeerRecord
from ..errors import LimitError, TraversalError
from ..events import AddressObserved, Identified, MappingInferred
from ..multiaddr import Multiaddr
from ..observed import Mapping, Observation, ObservedAddresses
from ..peer_id import PeerId
from .connection import Connection, Direction
from .host import Host
from .stream import Stream

_TIMEOUT = 10.0
_MAX_PEERS = 1024
# Pushes that say something new: each may leave 172 KiB in the event history.
_PUSHES = RateLimits(overall=1024, per_peer=32)
PROTOCOL_VERSION = "ipfs/0.1.0"


class IdentifyService:
    """`peers` is the last word of every peer met; `addresses` says what we advertise."""

    def __init__(
        self,
        host: Host,
        agent: str,
        observed: ObservedAddresses,
        addresses: Callable[[], tuple[Multiaddr, ...]],
    ) -> None:
        self.peers: dict[PeerId, identify.PeerInfo] = {}
        self.changed_hooks: list[Callable[[], None]] = []
        self.learned_hooks: list[Callable[[identify.PeerInfo], None]] = []
        self._host, self._agent = host, agent
        self._observed, self._addresses = observed, addresses
        self._pushes = RateLimiter(_PUSHES)
        self._mappings: dict[str, Mapping] = {}
        self._done: dict[Connection, asyncio.Event] = {}
        host.set_handler(identify.PROTOCOL, self._answer)
        host.set_handler(identify.PUSH_PROTOCOL, self._receive_push)
        host.connected_hooks.append(self._on_connected)
        host.closed_hooks.append(self._on_closed)
        host.moved_hooks.append(self._on_moved)

    async def wait(self, connection: Connection, timeout: float = _TIMEOUT) -> None:
        """Until the connection is identified, failed to be, or the time is up."""
        done = self._done.get(connection)
        if done is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await done.wait()

    def supports(self, peer: PeerId, protocol: str) -> bool:
        """Whether the peer said that it serves a protocol."""
        return peer in self.peers and protocol in self.peers[peer].protocols

    async def push(self) -> None:
        """Tell every connected peer that wants to know what we are now."""
        await asyncio.gather(
            *(self._push_to(c) for c in self._host.connections), return_exceptions=True
        )

    # Private.

    def _on_connected(self, connection: Connection) -> None:
        self._done[connection] = asyncio.Event()
        self._host.spawn(self._identify(connection))
        if connection.relayed and connection.direction is Direction.OUTBOUND:
            # The other side leads the upgrade, and would have to ask first where we can be dialed.
            self._host.spawn(self._tell(connection, asked=False))

    def _on_closed(self, connection: Connection) -> None:
        done = self._done.pop(connection, None)
        if done is not None:
            done.set()
        self._observed.remove(connection)

    def _on_moved(self, connection: Connection) -> None:
        """It cannot know by itself where we see it now, and may offer that in an upgrade."""
        self._host.spawn(self._tell(connection))

    async def _tell(self, connection: Connection, *, asked: bool = True) -> None:
        with contextlib.suppress(TraversalError, OSError):
            await self._push_to(connection, asked=asked)

    def _message(self, connection: Connection) -> bytes:
        host = self._host
        info = identify.PeerInfo(
            host.peer,
            self._addresses(),
            frozenset(host.handlers),
            connection.remote.without_peer(),
            self._agent,
            PROTOCOL_VERSION,
        )
        dialable = tuple(a for a in info.addresses if a.is_dialable)
        record = PeerRecord(host.peer, time.time_ns(), dialable).seal(host.identity)
        return identify.encode(info, host.identity.public, record)

    async def _answer(self, stream: Stream, connection: Connection) -> None:
        await stream.write_frame(self._message(connection))

    async def _receive_push(self, stream: Stream, connection: Connection) -> None:
        async with asyncio.timeout(_TIMEOUT):
            data = await stream.read_frame(identify.MAX_MESSAGE)
        info = self._parse(connection, data)
        if info != self.peers.get(connection.peer):
            party = "" if connection.relayed else connection.remote.party
            if not self._pushes.admit(connection.peer, asyncio.get_running_loop().time(), party):
                raise LimitError("too many pushes")
            self._take(connection, info)
        if connection in self._done:
            self._done[connection].set()

    async def _identify(self, connection: Connection) -> None:
        try:
            async with (
                asyncio.timeout(_TIMEOUT),
                self._host.exchange(connection, identify.PROTOCOL) as stream,
            ):
                stream.close_write()
                data = await stream.read_frame(identify.MAX_MESSAGE)
                self._take(connection, self._parse(connection, data))
        except (TraversalError, TimeoutError):
            return  # a peer without identify is still a peer
        finally:
            if connection in self._done:
                self._done[connection].set()

    async def _push_to(self, connection: Connection, *, asked: bool = True) -> None:
        """`asked`: only if the peer has said that it takes them."""
        if asked and not self.supports(connection.peer, identify.PUSH_PROTOCOL):
            return
        async with self._host.exchange(connection, identify.PUSH_PROTOCOL) as stream:
            await stream.write_frame(self._message(connection))

    def _parse(self, connection: Connection, data: bytes) -> identify.PeerInfo:
        return identify.decode(data, connection.peer).merged(self.peers.get(connection.peer))

    def _take(self, connection: Connection, info: identify.PeerInfo) -> None:
        older = self.peers.get(connection.peer)
        if older is None and len(self.peers) >= _MAX_PEERS:
            del self.peers[next(iter(self.peers))]
        self.peers[connection.peer] = info
        for learned in self.learned_hooks:
            learned(info)
        if info != older:
            self._host.emit(
                Identified(info.peer, info.agent, info.protocols, info.addresses, info.observed)
            )
        if info.observed is not None and not connection.relayed:
            self._observe(connection, info.observed.without_peer())
        for hook in self.changed_hooks:
            hook()

    def _observe(self, connection: Connection, seen: Multiaddr) -> None:
        if connection.locate() not in self._host.transports.listening:
            return  # dialed from an ephemeral port: its mapping is nobody's address
        outbound = connection.direction is Direction.OUTBOUND
        observation = Observation(connection.local, seen, connection.remote, outbound)
        if not self._observed.add(connection, observation):
            return
        self._host.emit(AddressObserved(seen, connection.local, connection.remote))
        transport = connection.transport
        mapping = self._observed.mapping(transport)
        if self._mappings.get(transport, Mapping.UNKNOWN) != mapping:
            self._mappings[transport] = mapping
            self._host.emit(MappingInferred(transport, mapping))
