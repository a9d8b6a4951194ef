"""The lab as a packet meets it: nodes, segments, and where a frame goes from an interface."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network

from testbed.model.address import MAIN
from testbed.model.frozen import FrozenValue
from testbed.model.packet import Endpoint, Packet
from testbed.model.plan import LAN, AddBridge, AddLink, AddNode, AddRoute, End, NodeKind, Plan
from testbed.model.topology import Impairment

_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Port:
    """One recorded interface on a segment."""

    name: str  # "node:interface", as `Packet.vantage`
    node: str
    mac: bytes
    addresses: frozenset[IPv4Address]
    subnets: tuple[IPv4Network, ...]
    gateway: bool  # where packets for elsewhere go
    inward: Impairment  # of the link towards it
    outward: Impairment


class Lab(FrozenValue):
    """What stitching needs of a plan."""

    plan: Plan

    @cached_property
    def kinds(self) -> dict[str, NodeKind]:
        return {step.node: step.kind for step in self.plan.of(AddNode)}

    @cached_property
    def segments(self) -> tuple[tuple[Port, ...], ...]:
        """The ports that hear one another: both ends of a wire, or all members of a LAN."""
        links = self.plan.of(AddLink)
        wires = [link for link in links if link.b.bridge is None]
        found = [
            (
                _port(wire.a, wire.b_to_a, wire.a_to_b, gateway=False),
                _port(wire.b, wire.a_to_b, wire.b_to_a, gateway=True),
            )
            for wire in wires
        ]
        lans = []
        for bridge in self.plan.of(AddBridge):
            end = End(bridge.node, bridge.ifname, bridge.mac, bridge.addresses)
            members = [
                _port(link.a, link.b_to_a, link.a_to_b, gateway=False)
                for link in links
                if (link.b.node, link.b.bridge) == (bridge.node, bridge.ifname)
            ]
            lans.append((_port(end, Impairment(), Impairment(), gateway=True), *members))
        return (*found, *lans)

    @cached_property
    def ports(self) -> dict[str, Port]:
        """By the vantage's name."""
        return {port.name: port for segment in self.segments for port in segment}

    @cached_property
    def _neighbours(self) -> dict[str, tuple[Port, ...]]:
        return {
            port.name: tuple(other for other in segment if other is not port)
            for segment in self.segments
            for port in segment
        }

    @cached_property
    def _tunnels(self) -> frozenset[Endpoint]:
        """Where tunnels end, on the servers' side."""
        tunnels = (link.tunnel for link in self.plan.of(AddLink))
        return frozenset(Endpoint(one.far, one.port) for one in tunnels if one is not None)

    def carries(self, packet: Packet) -> bool:
        """True of a tunnel's datagram, also in an ICMP error that quotes it.

        It is the wire for another packet, which is recorded where it goes in and comes out.
        """
        ends = [packet.source, packet.destination]
        if packet.quoted is not None:
            ends += [packet.quoted.source, packet.quoted.destination]
        return not self._tunnels.isdisjoint(ends)

    def is_host(self, node: str) -> bool:
        return self.kinds.get(node) is NodeKind.HOST

    def is_core(self, node: str) -> bool:
        return self.kinds.get(node) is NodeKind.CORE

    def owns(self, node: str, address: IPv4Address) -> bool:
        return self.plan.owners.get(address) == node

    def inside(self, router: str, address: IPv4Address) -> bool:
        """True of an address on the router's LAN."""
        port = self.ports.get(f"{router}:{LAN}")
        return port is not None and any(address in subnet for subnet in port.subnets)

    def target(self, packet: Packet) -> Port | None:
        """Whom an outgoing frame is for: on a wire the other end, on a LAN who has the address.

        None where that is nobody, or more than one (multicast).
        """
        sender = self.ports.get(packet.vantage)
        if sender is None:
            return None
        if wired := self.beyond(sender):
            return wired
        neighbours = self._neighbours[sender.name]
        address = packet.destination.address
        for port in neighbours:
            if address in port.addresses:
                return port
        if address.is_multicast or any(address in net for net in sender.subnets):
            return None
        return next((port for port in neighbours if port.gateway), None)

    def egress(self, packet: Packet) -> Port | None:
        """Where a router that takes ``packet`` in would send it out; None if nowhere."""
        node, address = packet.node, packet.destination.address
        if self.owns(node, address):  # a NAT's own address: for somebody inside, or for nobody
            return self.ports.get(f"{node}:{LAN}") if packet.interface != LAN else None
        name = next((name for net, name in self._routes.get(node, ()) if address in net), None)
        return self.ports.get(f"{node}:{name}")

    @cached_property
    def _routes(self) -> dict[str, list[tuple[IPv4Network, str]]]:
        """Of each node, the most specific first."""
        found: dict[str, list[tuple[IPv4Network, str]]] = defaultdict(list)
        for port in self.ports.values():
            found[port.node] += [(net, port.name.partition(":")[2]) for net in port.subnets]
        for step in sorted(self.plan.of(AddRoute), key=lambda step: step.metric):
            if step.table == MAIN:
                found[step.node].append((step.destination, step.ifname))
        for routes in found.values():
            routes.sort(key=lambda route: -route[0].prefixlen)
        return found

    def beyond(self, port: Port) -> Port | None:
        """The other end of the wire at ``port``; None on a LAN of several."""
        neighbours = self._neighbours[port.name]
        return neighbours[0] if len(neighbours) == 1 else None

    def delay_ns(self, packet: Packet, target: Port) -> int:
        """What the plan's links hold ``packet`` on its way to ``target``."""
        links = self._between(packet, target)
        return int(sum(link.delay_ms for link in links) * _MS)

    def patience_ns(self, packet: Packet, target: Port) -> int:
        """The longest that they may, waiting for a line of limited rate included."""
        links = self._between(packet, target)
        queues = sum(link.queue_ms for link in links if link.rate_mbit is not None)
        return int((queues + sum(link.delay_ms + link.jitter_ms for link in links)) * _MS)

    def swallows_over(self, packet: Packet) -> int | None:
        """Over how many bytes of an IP packet the link that ``packet`` leaves by loses it.

        None where its length is no reason.
        """
        target = self.target(packet) if packet.outgoing else None
        ways = self._between(packet, target) if target else ()
        bounds = (way.largest for way in ways if way.largest is not None)
        return next((bound for bound in bounds if packet.length > bound), None)

    def _between(self, packet: Packet, target: Port) -> tuple[Impairment, ...]:
        sender = self.ports[packet.vantage]
        if self.beyond(sender):  # one link, said at both of its ends
            return (target.inward,)
        return (sender.outward, target.inward)

    def overheard(self, packet: Packet) -> bool:
        """True of an incoming frame for somebody else: a bridge floods what it does not know."""
        port = self.ports.get(packet.vantage)
        if port is None or packet.outgoing:
            return False
        mac = packet.mac
        return len(mac) == len(port.mac) and mac != port.mac


def _port(end: End, inward: Impairment, outward: Impairment, *, gateway: bool) -> Port:
    return Port(
        name=f"{end.node}:{end.ifname}",
        node=end.node,
        mac=bytes.fromhex(end.mac.replace(":", "")),
        addresses=frozenset(one.ip for one in end.addresses),
        subnets=tuple(one.network for one in end.addresses),
        gateway=gateway,
        inward=inward,
        outward=outward,
    )
