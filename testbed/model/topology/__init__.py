"""What a lab consists of, as frozen values.  Nothing here touches the machine."""

from testbed.model.topology.graph import TUNNEL_MTU, Graph, core_of
from testbed.model.topology.link import AS_IT_IS, SMALLEST_MTU, Conditions, Impairment, Link
from testbed.model.topology.node import (
    INTERNET,
    TUNNEL_PORT,
    Host,
    Interface,
    Network,
    PortForward,
    Router,
    Scope,
    host_names,
    router_names,
)
from testbed.model.topology.ports import FIRST_PORT, PORTS_APART
from testbed.model.topology.roles import OBSERVER, Order, Roles
from testbed.model.topology.sound import require_sound

__all__ = [
    "AS_IT_IS",
    "FIRST_PORT",
    "INTERNET",
    "OBSERVER",
    "PORTS_APART",
    "SMALLEST_MTU",
    "TUNNEL_MTU",
    "TUNNEL_PORT",
    "Conditions",
    "Host",
    "Impairment",
    "Interface",
    "Link",
    "Network",
    "Order",
    "PortForward",
    "Roles",
    "Router",
    "Scope",
    "Topology",
    "core_of",
    "host_names",
    "router_names",
]


class Topology(Graph):
    """A closed internet: a graph that makes a lab."""

    def __post_init__(self) -> None:
        require_sound(self)
