"""Where the two ends of a path are seen: on their own wires, or at the far ends of those."""

from collections.abc import Iterator
from functools import cached_property
from ipaddress import IPv4Address

from testbed.model.frozen import FrozenValue
from testbed.model.packet import Packet
from testbed.model.plan import AddLink, Plan, Vantage
from testbed.model.topology import INTERNET


class Wire(FrozenValue):
    """A vantage of a host in ``network``; ``back``: what comes to the host leaves there."""

    vantage: str
    network: str
    back: bool


class Seat(FrozenValue):
    """A host at one place after another.

    ``edges`` are the vantages where its packets enter the internet, each with whether they leave
    there.
    """

    addresses: frozenset[IPv4Address]
    wires: tuple[Wire, ...]
    edges: frozenset[tuple[str, bool]]
    tunnels: frozenset[int] = frozenset()  # ports of datagrams in which its others are

    @cached_property
    def _by_vantage(self) -> dict[str, Wire]:
        return {one.vantage: one for one in self.wires}

    def network(self, packet: Packet) -> str:
        """Where the host is that has sent or got it."""
        return self._by_vantage[packet.vantage].network

    def sees(self, packet: Packet) -> bool:
        """Whether it is one of the host's, on its wire."""
        return self.sent(packet) or self.got(packet)

    def sent(self, packet: Packet) -> bool:
        """Whether the host has sent it, on its wire."""
        wire = self._by_vantage.get(packet.vantage)
        ours = packet.source.address in self.addresses and not self._carries(packet)
        return wire is not None and ours and packet.outgoing is not wire.back

    def got(self, packet: Packet) -> bool:
        """Whether it comes to the host, on its wire."""
        wire = self._by_vantage.get(packet.vantage)
        ours = packet.destination.address in self.addresses and not self._carries(packet)
        return wire is not None and ours and packet.outgoing is wire.back

    def _carries(self, packet: Packet) -> bool:
        """Whether it is a datagram of the host's tunnel, in which others are."""
        return not self.tunnels.isdisjoint((packet.source.port, packet.destination.port))

    def enters(self, packet: Packet) -> bool:
        """Whether it comes from the host's side, and enters the internet here."""
        return (packet.vantage, packet.outgoing) in self.edges


def seat(plan: Plan, host: str, docks: tuple[str, ...] = ()) -> Seat:
    """Of ``host``, which takes the places of ``docks``, one after the other.

    Interfaces that move are seen at the far ends of their wires, which do not.
    """
    places = (host, *docks)
    wires = [_far(plan, one) for one in places] if docks else list(_own(plan, host))
    return Seat(
        frozenset(address for one in places for address in plan.addresses[one]),
        tuple(wires),
        frozenset(edge for one in places for edge in _edges(plan, one)),
        frozenset(one.port for one in plan.topology.host(host).interfaces if one.over),
    )


def _own(plan: Plan, host: str) -> Iterator[Wire]:
    for one in plan.topology.host(host).interfaces:
        yield Wire(f"{host}:{one.name}", one.network, back=False)


def _far(plan: Plan, host: str) -> Wire:
    network = plan.topology.host(host).network
    if way := plan.topology.path_out(host):
        return Wire(f"{way[0].name}:lan", network, back=True)
    link = next(one for one in plan.of(AddLink) if one.a.node == host)
    return Wire(Vantage(link.b.node, link.b.ifname).name, network, back=True)


def _edges(plan: Plan, host: str) -> Iterator[tuple[str, bool]]:
    for one in plan.topology.host(host).interfaces:
        if one.network == INTERNET:
            yield _far(plan, host).vantage, False
        else:
            yield from _above(plan, one.network)


def _above(plan: Plan, network: str) -> Iterator[tuple[str, bool]]:
    """By each uplink of the router there, and of those above it."""
    router = plan.topology.router_serving(network)
    assert router is not None  # all networks but the internet have one
    for one in router.interfaces:
        if one.network == INTERNET:
            yield f"{router.name}:{one.name}", True
        else:
            yield from _above(plan, one.network)
