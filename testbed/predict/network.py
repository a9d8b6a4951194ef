"""A discrete-event simulation of the lab: virtual time, real paths, model NATs.

Packets cross the topology hop by hop as in the lab: each NAT on the way
translates or drops, a packet to the NAT's own external address hairpins there,
a node on the same network is reached directly.  Time is in seconds.  Without a seed it is
the sure case: jitter and partial loss are left out.  With one, chance does what the links
say, and the programs repeat what gets lost.  Rates are left out in both.  What a program
makes long vanishes on a link that swallows such packets.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from testbed.errors import ProfileError
from testbed.model.behaviour import Behaviour, Hairpin, Protocol
from testbed.model.behaviour import Mapping as Axis
from testbed.model.entrance import entrance
from testbed.model.topology import (
    INTERNET,
    TUNNEL_MTU,
    TUNNEL_PORT,
    Host,
    Interface,
    Link,
    Router,
    Topology,
)
from testbed.model.trace import (
    Answer,
    Drop,
    Kind,
    Loss,
    LostOnLink,
    NoHairpin,
    NotFragmented,
    Place,
    TooLong,
    TraceStep,
    Unheard,
    Unmapped,
    Unrouted,
    Verb,
)
from testbed.predict.fate import Direction
from testbed.predict.nat import TransportNat
from testbed.predict.packet import Message, Packet, Tunnelled, Way
from testbed.predict.translation import Dropped

Handler = Callable[[Packet], None]


class Holding(NamedTuple):
    """Who has mappings in a NAT: its quota, if there is one, is for each of these."""

    router: str
    protocol: Protocol
    subscriber: str  # the address inside


def addresses_of(node: Host | Router, by: Interface | None = None) -> tuple[str, ...]:
    """A node's model addresses: its name, then name#1, name#2 ..., in the order of the plan's.

    Those of the interface ``by`` alone; None: of all of them.
    """
    first = 0
    found: list[str] = []
    for one in node.interfaces:
        last = first + one.addresses
        if by is None or one is by:
            found += [f"{node.name}#{n}" if n else node.name for n in range(first, last)]
        first = last
    return tuple(found)


def addresses_on(node: Host | Router, network: str) -> tuple[str, ...]:
    """Those of a node's interface on ``network``."""
    return addresses_of(node, next(one for one in node.interfaces if one.network == network))


def _end(node: Host | Router, by: Interface) -> str:
    """The name of a link's end: the node's, of its first interface."""
    return f"{node.name}:{by.name}" if by.number else node.name


class Network:
    """The running model of one lab.

    ``lost`` keeps, for each (origin host, destination it aimed at), why the last
    packet did not arrive; ``trace`` holds what happened, repetitions left out, of the sure
    case alone.  ``seed``: chance decides, by it.  ``ways`` has, for each host that a packet came
    from and each that it came to, the links that the last one crossed, where links swallow
    packets for their length.
    """

    def __init__(
        self, topology: Topology, behaviours: Mapping[str, Behaviour], seed: str | None = None
    ) -> None:
        self.topology = topology
        self.seed = seed
        self.now = 0.0
        self._directions: dict[tuple[str, bool], Direction] = {}
        self.lost: dict[tuple[str, Place], Loss] = {}
        self.ways: dict[tuple[str, str], tuple[Way, ...]] = {}
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._number = 0
        self._trace: dict[TraceStep, None] = {}
        self._handlers: dict[tuple[str, Protocol, int | None], Handler] = {}
        self.behaviours = {r.name: _behaviour_of(r, behaviours) for r in topology.routers}
        self._nats = {
            (router.name, protocol): TransportNat(
                router.name,
                protocol,
                self.behaviours[router.name],
                addresses_of(router, router.interfaces[0]),
                [addresses_on(node, router.lan)[0] for node in topology.attached(router.lan)],
            )
            for router in topology.routers
            for protocol in Protocol
        }
        self._owners = {net.name: self._reachable_on(net.name) for net in topology.networks}
        self._gateways = {net.name: topology.router_serving(net.name) for net in topology.networks}
        self._clients: dict[tuple[str, str], Place] = {}  # of tunnels: host and network -> outside
        tunnels = [(host, o) for host in topology.hosts for o in host.interfaces if o.over]
        self._tunnels = {one.network for _, one in tunnels}
        for host, one in tunnels:
            self.at(0.0, partial(self._into_tunnel, host, one, None))

    def _reachable_on(self, network: str) -> dict[str, tuple[Host | Router, Interface]]:
        """Which node on ``network`` takes packets for which address, and by which interface."""
        owners: dict[str, tuple[Host | Router, Interface]] = {}
        for node in self.topology.nodes:
            for one in node.interfaces:
                if one.network != network:
                    continue
                owners.update(dict.fromkeys(addresses_of(node, one), (node, one)))
                if isinstance(node, Router) and self._leads_in(node, one):
                    owners.update(dict.fromkeys(self._reachable_on(node.lan), (node, one)))
        return owners

    def _leads_in(self, router: Router, by: Interface) -> bool:
        """Whether the hosts inside are reached by their own addresses."""
        return not self.behaviours[router.name].translates and by is router.interfaces[0]

    def entrance(self, host: str, protocol: Protocol, port: int) -> Place:
        """Where others reach ``port`` of ``host``, which may be behind NATs that forward it."""
        found = entrance(self.topology, self.behaviours, host, protocol, port)
        node = self.topology.node(found.node)
        return Place(addresses_of(node)[found.number], found.port)

    def is_public(self, address: str) -> bool:
        """Does the internet know the way to it?"""
        return address in self._owners[INTERNET]

    # -- time -------------------------------------------------------------

    def at(self, time: float, action: Callable[[], object]) -> None:
        """Do ``action`` at ``time``; equal times keep their order."""
        self._number += 1
        heapq.heappush(self._events, (time, self._number, action))

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass to ``until``, or to the moment when ``done()``."""
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
            if done():
                return
        self.now = max(self.now, until)

    def mappings(self) -> Counter[Holding]:
        """How many mappings each NAT has made for each subscriber."""
        return Counter(
            Holding(router, protocol, subscriber)
            for (router, protocol), nat in self._nats.items()
            for subscriber in nat.subscribers()
        )

    @property
    def chancy(self) -> bool:
        """Whether packets may get lost or late by chance, so that programs must be patient."""
        return self.seed is not None

    @property
    def trace(self) -> tuple[TraceStep, ...]:
        return tuple(self._trace)

    def _note(
        self,
        packet: Packet,
        verb: Verb,
        node: str | None = None,
        place: Place | None = None,
        drop: Drop | None = None,
    ) -> None:
        if self.chancy:
            return
        message = packet.message.name if packet.message is not None else None
        ends = packet.source, packet.destination
        step = TraceStep(packet.kind, message, *ends, verb, node, place, drop, self.now)
        self._trace.setdefault(step)

    # -- ends -------------------------------------------------------------

    def bind(self, host: str, protocol: Protocol, port: int | None, handler: Handler) -> None:
        """Deliver what comes for the port, or for all unbound ports (None), to ``handler``."""
        self._handlers[host, protocol, port] = handler

    def send(self, packet: Packet) -> None:
        """Send from the host that owns the packet's source address."""
        host = self.topology.host(packet.source.address.partition("#")[0])
        by = next(o for o in host.interfaces if packet.source.address in addresses_of(host, o))
        self._send_by(host, by, replace(packet, target=packet.destination))

    def _send_by(self, node: Host | Router, by: Interface, packet: Packet) -> None:
        if by.over is not None and isinstance(node, Host):
            self._into_tunnel(node, by, packet)
            return
        region = node.region if by.network == INTERNET else None
        self._up(node, by, packet, lambda sent: self._leave(by.network, sent, region))

    def _deliver(self, host: Host, packet: Packet) -> None:
        if packet.tunnelled is not None:
            if packet.tunnelled.packet is not None:
                self._deliver(host, _unwrapped(packet, packet.tunnelled.packet))
            return
        if self.topology.swallows:
            self.ways[packet.origin, host.name] = packet.ways
        handlers, protocol = self._handlers, packet.protocol
        handler = handlers.get((host.name, protocol, packet.destination.port))
        handler = handler or handlers.get((host.name, protocol, None))
        if handler is None:
            self._lose(packet, Unheard(packet.destination))
            return
        self._note(packet, Verb.ARRIVES)
        handler(packet)

    def _lose(self, packet: Packet, why: Drop) -> None:
        self._note(packet, Verb.DROPPED, drop=why)
        if packet.tunnelled is not None and packet.tunnelled.packet is not None:
            self._lose(packet.tunnelled.packet, why)
        if packet.target is not None:
            self.lost[packet.origin, packet.target] = Loss(packet.notes, why)

    # -- the way ----------------------------------------------------------

    def _up(
        self, node: Host | Router, by: Interface, packet: Packet, then: Callable[[Packet], None]
    ) -> None:
        self._cross(_end(node, by), by.link, packet, then)

    def _down(
        self, node: Host | Router, by: Interface, packet: Packet, then: Callable[[Packet], None]
    ) -> None:
        self._cross(_end(node, by), by.link, packet, then, down=True)

    def _cross(
        self,
        end: str,
        link: Link,
        packet: Packet,
        then: Callable[[Packet], None],
        *,
        down: bool = False,
    ) -> None:
        """``packet`` goes by ``link``, from ``end`` or ``down`` to it; ``then`` for each copy."""
        way = link.down if down else link.up
        if packet.whole and link.mtu is not None and packet.length > link.mtu:
            self._lose(packet, NotFragmented(packet.length, link.mtu))
            return
        if self.topology.swallows:
            if way.largest is not None and packet.length > way.largest:
                self._lose(packet, TooLong(packet.length, way.largest))
                return
            packet = replace(packet, ways=(*packet.ways, Way(way.largest, link.mtu)))
        arrivals: tuple[float, ...]
        if self.seed is None:
            arrivals = () if way.loss >= 1 else (self.now + way.delay_ms / 1000,)
        else:
            key = end, down
            if key not in self._directions:
                self._directions[key] = Direction(way, f"{self.seed}/{end}/{down}")
            arrivals = self._directions[key].arrivals(self.now)
        if not arrivals:
            self._lose(packet, LostOnLink())
        for moment in arrivals:
            self.at(moment, partial(then, packet))

    def _leave(self, network: str, packet: Packet, region: str | None) -> None:
        """Onto a network, from ``region`` of it to that of the node that takes the packet."""
        owner, _ = self._owners[network].get(packet.destination.address, (None, None))
        away = self.topology.regions.round_trip_ms(region, owner.region if owner else None) / 2
        if away:
            self.at(self.now + away / 1000, lambda: self._travel(network, packet))
        else:
            self._travel(network, packet)

    def _travel(self, network: str, packet: Packet) -> None:
        node, by = self._owners[network].get(packet.destination.address, (None, None))
        if node is None or by is None:
            self._travel_out(network, packet)
        elif isinstance(node, Host):
            self._arrive(node, by, packet)
        else:
            self._down(node, by, packet, partial(self._inbound, node, by))

    def _travel_out(self, network: str, packet: Packet) -> None:
        if (gateway := self._gateways[network]) is not None:
            self._outbound(gateway, packet)
        else:
            self._lose(packet, Unrouted(packet.destination.address))

    def _arrive(self, host: Host, by: Interface, packet: Packet) -> None:
        if by.over is not None:
            self._back_into_tunnel(host, by, packet)
        else:
            self._down(host, by, packet, partial(self._deliver, host))

    def _outbound(self, router: Router, packet: Packet) -> None:
        nat = self._nats[router.name, packet.protocol]
        hairpin = packet.destination.address in nat.addresses
        if hairpin and nat.behaviour.hairpin is Hairpin.NONE:
            self._lose(packet, NoHairpin(router.name))
            return
        if not hairpin or nat.behaviour.hairpin is Hairpin.EXTERNAL_SOURCE:
            left = nat.outgoing(self.now, packet.source, packet.destination, packet)
            if isinstance(left, Dropped):
                self._lose(packet, left.why)
                return
            self._note(packet, Verb.LEAVES, router.name, left.external)
            notes = packet.notes if left.note is None else (*packet.notes, left.note)
            packet = replace(packet, source=left.external, destination=left.remote, notes=notes)
        if hairpin:
            self._enter(router, nat, packet, filtered=False)
        else:
            self._send_by(router, router.interfaces[0], packet)

    def _inbound(self, router: Router, by: Interface, packet: Packet) -> None:
        if by is not router.interfaces[0]:  # an uplink that stands by answers nobody
            self._lose(packet, Unmapped(router.name, packet.destination))
            return
        if packet.tunnelled is not None and router.lan in self._tunnels:
            self._out_of_tunnel(router, packet, packet.tunnelled)
            return
        nat = self._nats[router.name, packet.protocol]
        dropped = self._enter(router, nat, packet, filtered=True)
        kind = {
            Answer.RESET: Kind.RESET,
            Answer.UNREACHABLE: Kind.UNREACHABLE,
            Answer.SILENCE: None,
        }[dropped.answer if dropped else Answer.SILENCE]
        if kind is None or packet.protocol is Protocol.UDP or packet.kind in ERRORS:
            return  # peers ignore ICMP errors for UDP, and an error is never answered
        answer = Packet(packet.protocol, packet.destination, packet.source, kind, router.name)
        self._send_by(router, router.interfaces[0], answer)

    def _enter(
        self, router: Router, nat: TransportNat, packet: Packet, *, filtered: bool
    ) -> Dropped | None:
        remote, external = packet.source, packet.destination
        if packet.kind in ERRORS:
            came = nat.error(self.now, remote, external, reset=packet.kind is Kind.RESET)
        else:
            came = nat.incoming(self.now, remote, external, packet, filtered=filtered)
        if isinstance(came, Dropped):
            self._lose(packet, came.why)
            return came
        self._note(packet, Verb.ENTERS, router.name, came.internal)
        notes = packet.notes if came.note is None else (*packet.notes, came.note)
        inside = replace(packet, source=came.remote, destination=came.internal, notes=notes)
        self._travel(router.lan, inside)
        return None

    # -- tunnels ----------------------------------------------------------

    def _into_tunnel(self, host: Host, by: Interface, packet: Packet | None) -> None:
        """Towards the server; None is the word by which a client makes itself known."""
        carrier = next(o for o in host.interfaces if o.network == by.over and o.over is None)
        server = self._gateways[by.network]
        assert server is not None  # the topology has it
        own = Place(addresses_of(host, carrier)[0], TUNNEL_PORT)
        far = Place(server.name, by.port)
        self._send_by(host, carrier, self._tunnelled(own, far, host.name, packet))

    def _out_of_tunnel(self, server: Router, packet: Packet, carried: Tunnelled) -> None:
        """The server answers to wherever a client's last datagram came from."""
        self._clients[packet.origin, server.lan] = packet.source
        if carried.packet is not None:
            self._travel(server.lan, _unwrapped(packet, carried.packet))

    def _back_into_tunnel(self, host: Host, by: Interface, packet: Packet) -> None:
        server = self._gateways[by.network]
        assert server is not None  # the topology has it
        client = self._clients.get((host.name, by.network))
        if client is None:
            self._lose(packet, Unrouted(packet.destination.address))
            return
        own = Place(server.name, by.port)
        outer = self._tunnelled(own, client, server.name, packet)
        self._send_by(server, server.interfaces[0], outer)

    def _tunnelled(
        self, source: Place, destination: Place, origin: str, packet: Packet | None
    ) -> Packet:
        ends, carried = (source, destination), Tunnelled(packet)
        length = packet.length + _WRAPPING if packet and packet.length else 0
        return Packet(
            Protocol.UDP,
            *ends,
            Kind.DATAGRAM,
            origin,
            Message("tunnelled"),
            tunnelled=carried,
            length=length,
        )


ERRORS = (Kind.RESET, Kind.UNREACHABLE)
_WRAPPING = 50  # bytes: a frame's Ethernet header, and those of VXLAN, UDP and IP before it


def _unwrapped(outer: Packet, inner: Packet) -> Packet:
    """``inner`` as it comes out: its ways are those of the datagram, which may be cut.

    Both ends of the tunnel's are told how long a packet may be there.
    """
    crossed = (
        Way(None if way.largest is None else way.largest - _WRAPPING, None) for way in outer.ways
    )
    end = Way(None, TUNNEL_MTU)
    return replace(inner, ways=(*inner.ways, end, *crossed, end))


def _behaviour_of(router: Router, behaviours: Mapping[str, Behaviour]) -> Behaviour:
    behaviour = behaviours[router.name]
    if (behaviour.udp.mapping is Axis.NONE) != (behaviour.tcp.mapping is Axis.NONE):
        raise ProfileError("a router translates both UDP and TCP or neither", node=router.name)
    return behaviour
