"""A mesh: more than two peers in one lab, of which each meets each.

What is run of it is its pairs.  Each is a cell whose lab, start and recording are those of the
others, too, and which is judged, predicted and explained by itself.
"""

from dataclasses import replace
from itertools import combinations, count
from typing import Any, Self

from testbed.errors import UsageError
from testbed.model.frozen import FrozenValue
from testbed.model.topology import Order, Topology

FIRST_PORT = 20_001  # of the peers of a mesh: each process has one that no other process has


class Meeting(FrozenValue):
    """Which pair of a mesh a cell is; the ports are where its two processes listen."""

    dialer: str
    listener: str
    ports: tuple[int, int]
    order: Order = Order.AT_ONCE

    @property
    def name(self) -> str:
        """``ann--ben``."""
        return f"{self.dialer}--{self.listener}"

    def of(self, topology: Topology) -> Topology:
        """``topology`` in which the two are those that dial and listen."""
        ends = {self.dialer: self.ports[0], self.listener: self.ports[1]}
        hosts = (replace(one, port=ends.get(one.name, one.port)) for one in topology.hosts)
        roles = replace(topology.roles, a=self.dialer, b=self.listener)
        return replace(topology, hosts=tuple(hosts), roles=roles)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """What `dataclasses.asdict` made; ValueError, LookupError or TypeError if it is not."""
        first, second = value["ports"]
        ends = (str(value["dialer"]), str(value["listener"]))
        return cls(*ends, (int(first), int(second)), Order(value["order"]))


def meetings(topology: Topology, order: Order) -> list[Meeting]:
    """All pairs of the mesh, in the order in which its world names the peers.

    UsageError where the world has none, or where a peer is told a port of its own.
    """
    peers = topology.roles.peers
    if not peers:
        raise UsageError(
            f"{topology.name} has no mesh",
            remedy="name its hosts: [roles] peers = [..., ..., ...]; mesh-12 is an example",
        )
    for name in peers:
        if topology.host(name).port is not None:
            raise UsageError(
                f"hosts.{name}.port has no effect: a peer of a mesh runs a process for each pair",
                remedy="leave it out",
            )
    ports = count(FIRST_PORT)
    return [
        Meeting(dialer, listener, (next(ports), next(ports)), order)
        for dialer, listener in combinations(peers, 2)
    ]
