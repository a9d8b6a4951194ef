"""One object that gets through NATs: direct, reversed, punched, relayed, in that order."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from . import dcutr
from .aio import identify_service, ping
from .aio.autonat_client import AutonatClient
from .aio.autonat_server import AutonatServer
from .aio.connection import Connection
from .aio.host import Handler, Host
from .aio.ladder import Ladder
from .aio.mapped import MappedPorts
from .aio.net import route_source
from .aio.path_watch import PathWatch
from .aio.peer_manager import PeerManager
from .aio.relay_client import Held, RelayClient
from .aio.relay_server import RelayServer
from .aio.rent_client import RentClient
from .aio.rent_server import RentServer
from .aio.resolve import resolve
from .aio.resumable import ResumableStream
from .aio.resume_service import ResumableHandler, ResumeService
from .aio.stream import Stream
from .aio.upgrade_service import UpgradeService
from .autonat_v1 import Reachability
from .dial_order import interleaved
from .errors import (
    AddressError,
    ConnectionClosedError,
    DeadlineError,
    DialError,
    DialFailure,
    LimitedConnectionError,
    RelayRefusedError,
    TraversalError,
)
from .events import AddressesChanged, DialFailed, DialStarted, Event
from .ladder import Prospects, Rung, Try
from .multiaddr import Multiaddr
from .observed import Mapping, ObservedAddresses
from .options import NodeOptions
from .peer_id import PeerId
from .resources import Resources

_PUSH_DELAY = 0.1


class Node:
    """A libp2p node.

    async with Node(NodeOptions()) as node:
        await node.listen("/ip4/0.0.0.0/tcp/4001")
        connection = await node.dial("/ip4/.../p2p/<relay>/p2p-circuit/p2p/<peer>")
        stream = await node.open_stream(connection.peer, ["/echo/1"])
    """

    def __init__(self, options: NodeOptions | None = None) -> None:
        self.options = options = options or NodeOptions()
        self.host = Host(
            options.identity, options.limits, options.gater,
            security=options.security, websocket=options.websocket, key_log=options.key_log,
        )  # fmt: skip
        self.observed = ObservedAddresses(options.activation_threshold, options.punch_threshold)
        self.identify = identify_service.IdentifyService(
            self.host, options.agent, self.observed, self.addresses
        )
        self.relays = RelayClient(self.host)
        PathWatch(self.host, options.paths)
        self.peers = PeerManager(
            self.host, self._dial_again, options.limits.dial_timeout,
            lambda a: a.is_relayed or self._presentable(a),
        )  # fmt: skip
        self.identify.learned_hooks.append(self.peers.learn)
        self.peers.network_hooks.append(self._moved)
        self.resuming = ResumeService(self.host, options.resume, self.peers.connection)
        self.upgrades = UpgradeService(
            self.host,
            self.identify,
            replace(options.upgrade, allow_private=options.allow_private),
            self.punch_addresses,
        )
        self.autonat = AutonatClient(
            self.host, self.identify, self.candidates,
            v1_threshold=options.v1_threshold, v2_threshold=options.v2_threshold,
        )  # fmt: skip
        self.ports = MappedPorts(options.port_mapping, self.host.emit, self._reconsider)
        dials = {Rung.DIRECT: self._dial_direct, Rung.RELAYED: self._dial_relayed}
        self.ladder = Ladder(
            self.host, self.identify, options.ladder, dials, lambda: bool(self._public_addresses())
        )
        self.upgrades.upgraded_hooks.append(self.ladder.upgraded)
        self._relay: RelayServer | None = None
        if options.relay is not None:
            self._relay = RelayServer(
                self.host, options.relay, self._relay_addresses, options.relay_acl
            )
            if options.rent_out is not None:
                RentServer(self.host, self._relay, options.rent_out)
        self.renting = RentClient(self.host, self.relays, options.rent) if options.rent else None
        if options.autonat_server:
            autonat = replace(options.autonat, allow_private=options.allow_private)
            AutonatServer(self.host, autonat, self._own_addresses)
        self.host.set_handler(ping.PROTOCOL, ping.serve)
        for hooks in (
            self.identify.changed_hooks, self.relays.changed_hooks, self.autonat.changed_hooks
        ):  # fmt: skip
            hooks.append(self._reconsider)
        self._advertised: tuple[Multiaddr, ...] = ()
        self._push: asyncio.Task[None] | None = None
        self._probing = False

    @property
    def peer(self) -> PeerId:
        """Our own id."""
        return self.host.peer

    # Life.

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def listen(self, address: Multiaddr | str) -> Multiaddr:
        """Open a TCP or QUIC socket; returns the address with its port.

        Raises AddressError, OSError.
        """
        bound = await self.host.listen(_address(address))
        self._reconsider()
        if not self._probing and self.options.autonat_interval:
            self._probing = True
            delay, interval = self.options.autonat_boot_delay, self.options.autonat_interval
            self.host.spawn(self.autonat.run(delay, interval))
        return bound

    async def close(self) -> None:
        """Give mapped ports back, close everything; `events` ends."""
        await self.ports.close()
        if self.renting is not None:
            await self.renting.close()
        await self.host.close()

    def events(self, *, history: bool = True) -> AsyncIterator[Event]:
        """What happens, in order; with `history` also what happened before."""
        return self.host.events(history=history)

    # Connections.

    async def dial(
        self, *addresses: Multiaddr | str, peer: PeerId | None = None, timeout: float | None = None
    ) -> Connection:
        """A connection that is there, or one by the ladder, as `NodeOptions.ladder` orders it.

        The addresses must name one peer, or `peer` does.  The result may be relayed, and a
        better one still come: `wait_direct` waits for it.  `RungReached` tells of each.
        Raises DialError (of the last address that failed), AddressError.
        """
        parsed = [_address(a) for a in addresses]
        peer = _only_peer(parsed, peer)
        if peer is not None:
            self.peers.remember(peer, parsed)
        limit = timeout or self.options.limits.dial_timeout
        parsed = list(interleaved(await self._resolved(parsed), _reachable))
        if self.renting is not None:
            parsed = await self.renting.order(parsed)
        direct = [a for a in parsed if not a.is_relayed]
        existing = await self._living(peer) if peer is not None else []
        if existing and not (existing[0].relayed and direct):
            return existing[0]
        try:
            wanted = direct if existing else parsed
            return await self.ladder.dial(wanted, peer, limit, beside=bool(existing))
        except DialError:
            if not existing or not existing[0].usable:
                raise
            return existing[0]

    async def wait_direct(self, peer: PeerId, timeout: float) -> Connection:
        """A direct connection to the peer, by whatever way.  Raises DeadlineError."""
        return await self.host.wait_connection(peer, timeout, direct=True)

    async def open_stream(
        self, peer: PeerId, protocols: Sequence[str], *, allow_limited: bool = False
    ) -> Stream:
        """A stream on the best connection to a connected peer.

        A relay cuts a circuit at its limit of bytes or seconds.  So where there is only such a
        connection, the stream waits for the direct one that the upgrade brings, unless it is
        short and `allow_limited` says so.

        Raises ConnectionClosedError when there is none, LimitedConnectionError when none comes
        within `NodeOptions.direct_patience`.  The remote's choice among several protocols is waited
        for (NegotiationError); where there is one, the stream can be written at once, and its
        first read, write or `close` after a refusal raises that: `Stream.agreed`.
        """
        connections = self.host.connections_to(peer)
        if not connections:
            raise ConnectionClosedError(f"not connected to {peer}")
        best = connections[0]
        if best.limit is not None and not allow_limited:
            try:
                best = await self.wait_direct(peer, self.options.direct_patience)
            except DeadlineError as error:
                raise LimitedConnectionError(f"only a limited relayed path: {error}") from error
        if len(protocols) == 1:
            return await self.host.open_lazily(best, protocols[0])
        return await self.host.open_stream(best, protocols)

    def set_handler(self, protocol: str, handler: Handler) -> None:
        """Serve a protocol: `await handler(stream, connection)`."""
        self.host.set_handler(protocol, handler)

    async def open_resumable(self, peer: PeerId, protocol: str) -> ResumableStream:
        """A stream that survives its paths: it begins on any connection, moves to a direct one,
        and goes on over the next when one is lost (`NodeOptions.resume`).

        Both sides must serve it so: `set_resumable_handler`.  It keeps the peer: `peers.keep`.
        Raises DeadlineError, NegotiationError.
        """
        self.peers.keep(peer)
        return await self.resuming.open(peer, protocol)

    def set_resumable_handler(self, protocol: str, handler: ResumableHandler) -> None:
        """Serve a protocol on resumable streams: `await handler(stream, connection)`."""
        self.resuming.set_handler(protocol, handler)

    async def ping(self, peer: PeerId) -> float:
        """Round trip in seconds on the best connection.  Raises DeadlineError."""
        connections = self.host.connections_to(peer)
        if not connections:
            raise ConnectionClosedError(f"not connected to {peer}")
        return await ping.ping(self.host, connections[0])

    async def reserve(self, relay: Multiaddr | str) -> Held:
        """Hold a reservation with a relay, refreshed until `close`.

        Raises DialError, RelayRefusedError, ProtocolError.
        """
        address = _address(relay)
        connection = await self.dial(address)
        await self.identify.wait(connection)
        return await self.relays.reserve(connection, address)

    async def prepare(self, *relays: Multiaddr | str) -> Prospects:
        """What we need to be reached: at once a port of the gateway and reservations, then proof.

        The proof is AutoNAT v2's, by whoever we are connected to by then.  Nothing is raised:
        what cannot be had is among the troubles.
        """
        options = self.options.ladder
        unmapped, unreserved = await asyncio.gather(
            self.ports.map(self.listening(), options.map_patience),
            asyncio.gather(*(self._try_reserve(relay) for relay in relays)),
        )
        met = [c for c in self.host.connections if not c.relayed]
        await asyncio.gather(*map(self.identify.wait, met))
        await self.autonat.prove(options.proof_patience)
        addresses = (*self._public_addresses(), *self.relays.addresses)
        failed = [(relay, why) for relay, why in zip(relays, unreserved, strict=True) if why]
        troubles = (*unmapped, *(_no_reservation(relay, why) for relay, why in failed))
        refusals = tuple(why for _, why in failed if isinstance(why, RelayRefusedError))
        return Prospects(self.ports.mappings, addresses, troubles, refusals)

    # Addresses and reachability.

    def listening(self) -> tuple[Multiaddr, ...]:
        """Where our sockets are."""
        return self.host.transports.listening

    def candidates(self) -> tuple[Multiaddr, ...]:
        """Direct addresses that may be reachable, good enough to be tested."""
        found = (*self.listening(), *self.ports.addresses)
        found = (*found, *self.observed.addresses(self.options.activation_threshold))
        found = (*found, *self.observed.punchable)
        return tuple(dict.fromkeys(a for a in found if self._presentable(a)))

    def direct_addresses(self) -> tuple[Multiaddr, ...]:
        """Direct addresses that we advertise."""
        verdicts = self.autonat.address_verdicts
        observed = [a for a in self.ports.addresses if not self._proven_private(a)]
        if self.options.advertise_unproven:
            observed += (a for a in self.observed.advertised if not self._proven_private(a))
        observed += [a for a, verdict in verdicts.items() if verdict is Reachability.PUBLIC]
        own = tuple(map(_address, self.options.announce)) or self.listening()
        found = [a for a in (*own, *observed) if not _loopback(a) or self._lonely]
        return tuple(dict.fromkeys(found))

    def addresses(self) -> tuple[Multiaddr, ...]:
        """All that we advertise, circuits included."""
        return (*self.direct_addresses(), *self.relays.addresses)

    def punch_addresses(self) -> tuple[Multiaddr, ...]:
        """What CONNECT of DCUtR carries: observed addresses, mapped and public ones of our own."""
        found = (*self.ports.addresses, *self.observed.punchable, *self.listening())
        able = (a for a in found if a.transport in dcutr.TRANSPORTS)
        return tuple(dict.fromkeys(a for a in able if self._presentable(a)))

    def mapping(self, transport: str) -> Mapping:
        """Our NAT's mapping behaviour for `tcp` or `quic-v1`, as observed."""
        return self.observed.mapping(transport)

    async def probe_reachability(self) -> tuple[Reachability, dict[Multiaddr, Reachability]]:
        """Ask all connected AutoNAT servers now: verdict on the node, and on each address."""
        await self.autonat.probe()
        return self.autonat.node_verdict, dict(self.autonat.address_verdicts)

    @property
    def resources(self) -> Resources:
        """What this node holds now."""
        host, ledger = self.host, self._relay and self._relay.ledger
        connections = host.connections
        return Resources(
            connections=len(connections),
            relayed=sum(c.relayed for c in connections),
            streams=sum(len(c.streams) for c in connections),
            handshakes=host.transports.handshakes,
            received=host.memory.held,
            written=host.sending.held,
            known_peers=self.peers.known,
            held=len(self.relays.held),
            reservations=len(ledger.holders(time.time())) if ledger else 0,
            circuits=ledger.circuits if ledger else 0,
        )

    # Private.

    def _relay_addresses(self) -> tuple[Multiaddr, ...]:
        """What a reservation lists: public addresses, or all where there is none."""
        return self._public_addresses() or self.direct_addresses()

    def _own_addresses(self) -> tuple[Multiaddr, ...]:
        return (*self.direct_addresses(), *self.observed.punchable, *self.ports.addresses)

    def _public_addresses(self) -> tuple[Multiaddr, ...]:
        """Of those that we advertise, the ones that a stranger may dial."""
        return tuple(a for a in self.direct_addresses() if self._presentable(a))

    async def _try_reserve(self, relay: Multiaddr | str) -> Exception | None:
        try:
            await self.reserve(relay)
        except (TraversalError, TimeoutError) as error:
            return error
        return None

    @property
    def _lonely(self) -> bool:
        return all(_loopback(a) for a in self.listening())

    def _presentable(self, address: Multiaddr) -> bool:
        return self.options.allow_private or address.is_public

    def _proven_private(self, address: Multiaddr) -> bool:
        return self.autonat.address_verdicts.get(address) is Reachability.PRIVATE

    async def _living(self, peer: PeerId) -> list[Connection]:
        """The connections that have been heard of late, or answer now."""
        patience, known = self.options.upgrade.proof_timeout, self.host.connections_to(peer)
        await asyncio.gather(*(ping.alive(self.host, c, patience) for c in known))
        return [c for c in known if c.usable]

    async def _resolved(self, addresses: list[Multiaddr]) -> list[Multiaddr]:
        """Names become IPs; a name that leads nowhere is told, and fatal when it is the last."""
        found: list[Multiaddr] = []
        failure: DialError | None = None
        for address in addresses:
            try:
                found += await resolve(address, self.options.lookup_txt)
            except DialError as error:
                failure = error
                self.host.emit(DialFailed(address, "direct", error.failure, error.reason))
        if failure is not None and not found:
            raise failure
        return found

    async def _dial_again(
        self, addresses: Sequence[Multiaddr], peer: PeerId, timeout: float
    ) -> Connection:
        """One way of a race to a lost peer."""
        return await self.ladder.dial(addresses, peer, timeout)

    async def _dial_direct(self, attempt: Try, peer: PeerId | None, timeout: float) -> Connection:
        address, bare = attempt.address, attempt.address.without_peer()
        self.host.emit(DialStarted(address, "direct"))
        try:
            try:
                return await self.host.dial_direct(bare, peer, timeout, fresh=attempt.fresh)
            except DialError as error:
                if error.failure is not DialFailure.ADDRESS_IN_USE:
                    raise
            # A connection that is about to end still has this pair of addresses.
            return await self.host.dial_direct(bare, peer, timeout, fresh=True)
        except DialError as error:
            self.host.emit(DialFailed(address, "direct", error.failure, error.reason))
            raise

    async def _dial_relayed(self, attempt: Try, peer: PeerId | None, timeout: float) -> Connection:
        address = attempt.address
        if peer is None:
            raise AddressError(f"{address} does not say which peer is behind the relay")
        self.host.emit(DialStarted(address, "relayed"))
        try:
            through = await self.dial(address.relay(), timeout=timeout)
            if through.relayed:
                raise DialError(address, DialFailure.UNSUPPORTED, "a relay behind a relay")
            await self.identify.wait(through, timeout)
            relays = self.renting or self.relays
            return await relays.dial(through, peer, timeout)
        except DialError as error:
            self.host.emit(DialFailed(address, "relayed", error.failure, error.reason))
            raise

    def _moved(self) -> None:
        """We are on another network."""
        self.observed.retain(self.listening())
        self._reconsider()

    def _reconsider(self) -> None:
        """Something about our addresses may have changed: tell the user and the peers."""
        addresses = self.addresses()
        if addresses == self._advertised or self.host.closing:
            return
        self._advertised = addresses
        self.host.emit(AddressesChanged(addresses))
        if self._push is None or self._push.done():
            self._push = self.host.spawn(self._push_soon())

    async def _push_soon(self) -> None:
        told: tuple[Multiaddr, ...] | None = None
        while told != self._advertised:
            await asyncio.sleep(_PUSH_DELAY)  # several changes at once make one push
            told = self._advertised
            with contextlib.suppress(ConnectionClosedError):
                await self.identify.push()


def _no_reservation(relay: Multiaddr | str, error: Exception) -> str:
    return f"{relay}: no reservation: {str(error) or type(error).__name__}"


def _address(value: Multiaddr | str) -> Multiaddr:
    return Multiaddr.parse(value) if isinstance(value, str) else value


def _only_peer(addresses: list[Multiaddr], peer: PeerId | None) -> PeerId | None:
    named = {a.peer_id for a in addresses if a.peer_id is not None} | ({peer} if peer else set())
    if len(named) > 1:
        raise AddressError("the addresses name more than one peer")
    return next(iter(named), None)


def _reachable(address: Multiaddr) -> bool:
    """Whether there is a route."""
    return address.ip is None or route_source(str(address.ip)) is not None


def _loopback(address: Multiaddr) -> bool:
    return address.ip is not None and address.ip.is_loopback
