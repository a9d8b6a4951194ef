"""What makes no lab: networks that nobody serves, routers in a circle, tunnels to nowhere."""

from collections.abc import Iterable

from testbed.errors import TopologyError
from testbed.model.topology.graph import Graph
from testbed.model.topology.node import INTERNET, Host, Interface, Router, Scope
from testbed.model.topology.ports import ports
from testbed.model.topology.roles import Roles
from testbed.naming import instead


def require_sound(graph: Graph) -> None:
    """TopologyError for what is no lab; it names the node, where it is one's."""
    nodes: list[Host | Router] = [*graph.routers, *graph.hosts]
    _refuse_duplicates("node", [node.name for node in nodes])
    _refuse_duplicates("network", [network.name for network in graph.networks])
    if [n.name for n in graph.networks if n.scope is Scope.PUBLIC] != [INTERNET]:
        raise TopologyError(f"exactly one public network, named {INTERNET!r}, is needed")
    _refuse_unknown_networks(graph, nodes)
    for network in graph.networks:
        serving = [router.name for router in graph.routers_serving(network.name)]
        if network.scope is not Scope.PUBLIC and len(serving) != 1:
            raise TopologyError(
                f"network {network.name!r} needs exactly one router that serves it, "
                f"not {serving or 'none'}"
            )
    for router in graph.routers:
        if router.lan == INTERNET:
            raise TopologyError("the internet cannot be a router's LAN", node=router.name)
        _refuse_loop(graph, router)
        _refuse_stray_forwards(graph, router)
    _refuse_misplaced(graph, nodes)
    for host in graph.hosts:
        for one in host.interfaces:
            _refuse_tunnel(graph, host, one)
    _refuse_missing_players(graph)
    ports(graph.hosts)


def _refuse_unknown_networks(graph: Graph, nodes: Iterable[Host | Router]) -> None:
    known = {network.name for network in graph.networks}
    for node in nodes:
        wanted = [one.network for one in node.interfaces]
        for name in wanted if isinstance(node, Host) else (*wanted, node.lan):
            if name not in known:
                raise TopologyError(f"unknown network {name!r}", node=node.name)
        _refuse_twice(node)


def _refuse_loop(graph: Graph, router: Router, below: frozenset[str] = frozenset()) -> None:
    if router.lan in below:
        raise TopologyError("routers serve one another in a circle", node=router.name)
    for uplink in router.interfaces:
        if (above := graph.router_serving(uplink.network)) is not None:
            _refuse_loop(graph, above, below | {router.lan})


def _refuse_tunnel(graph: Graph, host: Host, one: Interface) -> None:
    """A tunnel that leads nowhere, or through itself."""
    if one.over is None:
        return
    server = graph.router_serving(one.network)
    if server is None or server.interfaces[0].network != INTERNET:
        raise TopologyError(
            f"a tunnel to {one.network!r}: a router on the internet must serve that network",
            node=host.name,
        )
    wires = [other for other in host.interfaces if other.over is None]
    carriers = [other for other in wires if other.network == one.over]
    if not carriers:
        known = ", ".join(other.network for other in wires)
        raise TopologyError(
            f"a tunnel over {one.over!r}: another interface must be there",
            node=host.name,
            remedy=f"networks of its other interfaces: {known}",
        )
    ends = {other.network for each in graph.hosts for other in each.interfaces if other.over}
    if server in graph.path_out(host.name, carriers[0]) or one.over in ends:
        raise TopologyError(
            f"a tunnel over {one.over!r}: that network is reached by a tunnel itself",
            node=host.name,
        )


def _refuse_stray_forwards(graph: Graph, router: Router) -> None:
    inside = [node.name for node in graph.attached(router.lan)]
    for forward in router.forwards:
        if forward.node not in inside:
            raise TopologyError(
                f"a port is forwarded to {forward.node!r}, which is not on {router.lan!r}",
                node=router.name,
            )


def _refuse_misplaced(graph: Graph, nodes: Iterable[Host | Router]) -> None:
    """Regions are the internet's: each node that is attached to it names one of them."""
    for node in nodes:
        outside = any(one.network == INTERNET for one in node.interfaces)
        if node.region is None:
            if outside and graph.regions.names:
                raise TopologyError(
                    "it is on the internet, and names no region of it",
                    node=node.name,
                    remedy=f"regions: {', '.join(graph.regions.names)}",
                )
        elif not outside:
            raise TopologyError("it is not on the internet, and names a region", node=node.name)
        elif node.region not in graph.regions.names:
            raise TopologyError(
                f"unknown region {node.region!r}",
                node=node.name,
                remedy=instead(node.region, graph.regions.names),
            )
    if idle := set(graph.regions.names) - {node.region for node in nodes}:
        raise TopologyError(f"no node is in region {min(idle)!r}")


def _refuse_missing_players(graph: Graph) -> None:
    """A role that somebody was named for; the usual names need not be there."""
    usual, said = Roles(), graph.roles
    for name, other in ((said.a, usual.a), (said.b, usual.b), (said.relay, usual.relay)):
        if name != other:
            graph.host(name)
    for name in (*(said.observers or ()), *said.peers):
        graph.host(name)
    if said.dns is not None and graph.host(said.dns).interfaces[0].network != INTERNET:
        raise TopologyError("who answers names is on the internet", node=said.dns)


def _refuse_twice(node: Host | Router) -> None:
    """Two interfaces on one LAN: which of them a packet for a neighbour leaves by, nobody says."""
    networks = [one.network for one in node.interfaces if one.network != INTERNET]
    for name in networks:
        if networks.count(name) > 1:
            raise TopologyError(f"two interfaces on network {name!r}", node=node.name)


def _refuse_duplicates(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not name or len(name) > 32 or not all(c.isalnum() or c in "-_" for c in name):
            raise TopologyError(f"{what} name {name!r}: 1 to 32 letters, digits, '-' or '_'")
        if name in seen:
            raise TopologyError(f"two {what}s are called {name!r}")
        seen.add(name)
