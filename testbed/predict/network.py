"""A discrete-event simulation of the lab: virtual time, real paths, model NATs.

Packets cross the topology hop by hop as in the lab: each NAT on the way
translates or drops, a packet to the NAT's own external address hairpins there,
a node on the same network is reached directly.  Time is in seconds.  Without a seed it is
the sure case: jitter and partial loss are left out.  With one, chance does what the links
say, and the programs repeat what gets lost.  Rates are left out in both.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import replace

from testbed.errors import ProfileError
from testbed.model.behaviour import Behaviour, Hairpin, Protocol
from testbed.model.behaviour import Mapping as Axis
from testbed.model.entrance import entrance
from testbed.model.reason import (
    Answer,
    Drop,
    Kind,
    Loss,
    LostOnLink,
    NoHairpin,
    Place,
    TraceStep,
    Unheard,
    Unrouted,
    Verb,
)
from testbed.model.topology import INTERNET, Host, Impairment, Router, Topology
from testbed.predict.fate import Direction
from testbed.predict.nat import TransportNat
from testbed.predict.packet import Packet
from testbed.predict.translation import Dropped

Handler = Callable[[Packet], None]


def addresses_of(node: Host | Router) -> tuple[str, ...]:
    """A node's model addresses: its name, then name#1, name#2 ..."""
    count = node.addresses if isinstance(node, Host) else node.external_addresses
    return (node.name, *(f"{node.name}#{index}" for index in range(1, count)))


class Network:
    """The running model of one lab.

    ``lost`` keeps, for each (origin host, destination it aimed at), why the last
    packet did not arrive; ``trace`` holds what happened, repetitions left out, of the sure
    case alone.  ``seed``: chance decides, by it.
    """

    def __init__(
        self, topology: Topology, behaviours: Mapping[str, Behaviour], seed: str | None = None
    ) -> None:
        self.topology = topology
        self.seed = seed
        self.now = 0.0
        self._directions: dict[tuple[str, bool], Direction] = {}
        self.lost: dict[tuple[str, Place], Loss] = {}
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
                addresses_of(router),
                [node.name for node in topology.attached(router.lan)],
            )
            for router in topology.routers
            for protocol in Protocol
        }
        self._owners = {net.name: self._reachable_on(net.name) for net in topology.networks}
        self._gateways = {net.name: topology.router_serving(net.name) for net in topology.networks}

    def _reachable_on(self, network: str) -> dict[str, Host | Router]:
        """Which node on ``network`` takes packets for which address."""
        owners: dict[str, Host | Router] = {}
        for host in self.topology.hosts:
            if host.network == network:
                owners.update(dict.fromkeys(addresses_of(host), host))
        for router in self.topology.routers:
            if router.wan == network:
                owners.update(dict.fromkeys(addresses_of(router), router))
                if not self.behaviours[router.name].translates:
                    owners.update(dict.fromkeys(self._reachable_on(router.lan), router))
        return owners

    def entrance(self, host: str, protocol: Protocol, port: int) -> Place:
        """Where others reach ``port`` of ``host``, which may be behind NATs that forward it."""
        found = entrance(self.topology, self.behaviours, host, protocol, port)
        return Place(found.node, found.port)

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
        packet = replace(packet, target=packet.destination)
        self._up(host, packet, lambda: self._leave(host.network, packet, host.region))

    def _deliver(self, host: Host, packet: Packet) -> None:
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
        if packet.target is not None:
            self.lost[packet.origin, packet.target] = Loss(packet.notes, why)

    # -- the way ----------------------------------------------------------

    def _up(self, node: Host | Router, packet: Packet, then: Callable[[], None]) -> None:
        self._cross(node.name, node.link.up, packet, then)

    def _down(self, node: Host | Router, packet: Packet, then: Callable[[], None]) -> None:
        self._cross(node.name, node.link.down, packet, then, down=True)

    def _cross(
        self,
        node: str,
        way: Impairment,
        packet: Packet,
        then: Callable[[], None],
        *,
        down: bool = False,
    ) -> None:
        """``packet`` goes ``way``, from ``node`` or ``down`` to it; ``then`` for each copy."""
        arrivals: tuple[float, ...]
        if self.seed is None:
            arrivals = () if way.loss >= 1 else (self.now + way.delay_ms / 1000,)
        else:
            key = node, down
            if key not in self._directions:
                self._directions[key] = Direction(way, f"{self.seed}/{node}/{down}")
            arrivals = self._directions[key].arrivals(self.now)
        if not arrivals:
            self._lose(packet, LostOnLink())
        for moment in arrivals:
            self.at(moment, then)

    def _leave(self, network: str, packet: Packet, region: str | None) -> None:
        """Onto a network, from ``region`` of it to that of the node that takes the packet."""
        owner = self._owners[network].get(packet.destination.address)
        away = self.topology.regions.round_trip_ms(region, owner.region if owner else None) / 2
        if away:
            self.at(self.now + away / 1000, lambda: self._travel(network, packet))
        else:
            self._travel(network, packet)

    def _travel(self, network: str, packet: Packet) -> None:
        owner = self._owners[network].get(packet.destination.address)
        if isinstance(owner, Host):
            host = owner
            self._down(host, packet, lambda: self._deliver(host, packet))
        elif isinstance(owner, Router):
            router = owner
            self._down(router, packet, lambda: self._inbound(router, packet))
        elif (gateway := self._gateways[network]) is not None:
            self._outbound(gateway, packet)
        else:
            self._lose(packet, Unrouted(packet.destination.address))

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
            self._up(router, packet, lambda: self._leave(router.wan, packet, router.region))

    def _inbound(self, router: Router, packet: Packet) -> None:
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
        self._up(router, answer, lambda: self._leave(router.wan, answer, router.region))

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


ERRORS = (Kind.RESET, Kind.UNREACHABLE)


def _behaviour_of(router: Router, behaviours: Mapping[str, Behaviour]) -> Behaviour:
    behaviour = behaviours[router.name]
    if (behaviour.udp.mapping is Axis.NONE) != (behaviour.tcp.mapping is Axis.NONE):
        raise ProfileError("a router translates both UDP and TCP or neither", node=router.name)
    return behaviour
