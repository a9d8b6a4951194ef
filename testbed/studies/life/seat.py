"""Where the two ends of a path are seen: at the far ends of their wires, which do not move."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from testbed.model.packet import Packet
from testbed.model.plan import AddLink, Plan, Vantage


@dataclass(frozen=True)
class Seat:
    """A host at one place after another: ``hosts`` are itself and those whose place it takes.

    ``wires`` are the names of the vantages at the far ends of its wires; ``edges`` those where
    its packets enter the internet, each with the direction in which they do.
    """

    addresses: frozenset[IPv4Address]
    wires: frozenset[str]
    edges: frozenset[tuple[str, bool]]

    def sees(self, packet: Packet) -> bool:
        """Whether it is one of the host's, on its wire."""
        ends = {packet.source.address, packet.destination.address}
        return packet.vantage in self.wires and not self.addresses.isdisjoint(ends)

    def enters(self, packet: Packet) -> bool:
        """Whether it comes from the host's side, and enters the internet here."""
        return (packet.vantage, packet.outgoing) in self.edges


def seat(plan: Plan, hosts: Sequence[str]) -> Seat:
    """Of a host that is where ``hosts`` are, one after the other."""
    return Seat(
        frozenset(address for host in hosts for address in plan.addresses[host]),
        frozenset(_wire(plan, host).name for host in hosts),
        frozenset(edge for host in hosts for edge in _edges(plan, host)),
    )


def _wire(plan: Plan, host: str) -> Vantage:
    way = plan.topology.path_out(host)
    if way:
        return Vantage(way[0].name, "lan")
    return next(Vantage(one.b.node, one.b.ifname) for one in plan.of(AddLink) if one.a.node == host)


def _edges(plan: Plan, host: str) -> Iterator[tuple[str, bool]]:
    way = plan.topology.path_out(host)
    yield (Vantage(way[-1].name, "wan").name, True) if way else (_wire(plan, host).name, False)
