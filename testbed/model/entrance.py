"""Where the internet reaches a host that serves: at its own address, or at a router's.

Of every translating router on the way out, the port that leads to the one before counts.
Where none does, it is the same number: so its owner would tell it who knows nothing of the
NAT, and nothing gets in.
"""

from collections.abc import Mapping
from typing import NamedTuple

from testbed.model.behaviour import Behaviour, Protocol
from testbed.model.topology import Topology

RELAY_PORTS = (49152, 50151)  # of the lab's TURN server, UDP: it initialises every one of them


class Entrance(NamedTuple):
    """A port of a node's address.  ``leads``: what comes for it gets to the host."""

    node: str
    port: int
    leads: bool
    number: int = 0  # of the node's addresses: the first, but where each host has one to itself


def entrance(
    topology: Topology,
    behaviours: Mapping[str, Behaviour],
    host: str,
    protocol: Protocol,
    port: int,
) -> Entrance:
    """Where the internet finds ``port`` of ``host``; ``behaviours`` are by router."""
    found = Entrance(host, port, True)
    for router in topology.path_out(host):
        behaviour = behaviours[router.name]
        if not behaviour.translates:
            continue
        inside = [node.name for node in topology.attached(router.lan)]
        outside = (
            forward.external_port
            for forward in behaviour.forwards
            if forward.protocol is protocol
            and inside[forward.host : forward.host + 1] == [found.node]
            and forward.internal_port == found.port
        )
        number = next(outside, None)
        if number is not None:
            found = Entrance(router.name, number, found.leads)
        else:
            found = _exposed(behaviour, router.name, inside.index(found.node), protocol, found)
    return found


def _exposed(
    behaviour: Behaviour, router: str, host: int, protocol: Protocol, inner: Entrance
) -> Entrance:
    """Where it is the same number: whether it leads to the LAN's ``host``-th, and at which address.

    A port that is forwarded to somebody else does not.
    """
    forwarded = {(one.protocol, one.external_port) for one in behaviour.forwards}
    number = host if behaviour.exposes(host) == host else 0
    leads = behaviour.exposes(number) == host and (protocol, inner.port) not in forwarded
    return Entrance(router, inner.port, inner.leads and leads, number if leads else 0)


def reached_ports(
    topology: Topology, behaviours: Mapping[str, Behaviour], host: str, ports: tuple[int, int]
) -> tuple[int, int]:
    """The first and the last of ``ports`` that lead to the same UDP port of ``host``.

    Both ends of ``ports``, where none does.
    """
    if not topology.path_out(host):
        return ports
    first, last = ports
    ways = (
        entrance(topology, behaviours, host, Protocol.UDP, port) for port in range(first, last + 1)
    )
    same = [port for port, way in enumerate(ways, first) if way.leads and way.port == port]
    return (same[0], same[-1]) if same else ports
