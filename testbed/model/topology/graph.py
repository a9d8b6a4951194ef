"""The graph of a lab: who is attached to what, and which ways lead out."""

from dataclasses import replace
from functools import cached_property
from typing import Self, TypeVar

from testbed.errors import TopologyError
from testbed.model.frozen import FrozenValue
from testbed.model.regions import NOWHERE, Regions
from testbed.model.topology.link import Impairment, Link
from testbed.model.topology.node import Host, Interface, Network, Router
from testbed.model.topology.ports import ports
from testbed.model.topology.roles import OBSERVER, Roles
from testbed.naming import instead

CORE = "core"  # the internet's own router; of a region, its name follows after a hyphen
TUNNEL_MTU = 1420  # bytes of an IP packet, as WireGuard's: what carries it must fit into 1500
N = TypeVar("N", Host, Router)


class Graph(FrozenValue):
    """``name`` is the world's; nodes are in order of declaration."""

    name: str
    networks: tuple[Network, ...]
    routers: tuple[Router, ...]
    hosts: tuple[Host, ...]
    roles: Roles = Roles()
    regions: Regions = NOWHERE

    @cached_property
    def _by_name(self) -> dict[str, Host | Router]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def _ports(self) -> dict[str, int]:
        return ports(self.hosts)

    @property
    def observers(self) -> tuple[str, ...]:
        """The hosts that tell peers their addresses, in order of declaration."""
        if self.roles.observers is not None:
            return self.roles.observers
        return tuple(host.name for host in self.hosts if host.name.startswith(OBSERVER))

    @property
    def by_chance(self) -> bool:
        """Whether chance decides about any frame of the lab."""
        links = [interface.link for node in self.nodes for interface in node.interfaces]
        return any(way.by_chance for link in links for way in (link.up, link.down))

    @cached_property
    def swallows(self) -> bool:
        """Whether any link loses packets for their length, without a word."""
        links = [interface.link for node in self.nodes for interface in node.interfaces]
        return any(way.largest is not None for link in links for way in (link.up, link.down))

    @property
    def nodes(self) -> tuple[Host | Router, ...]:
        """Routers, then hosts, in order of declaration."""
        return (*self.routers, *self.hosts)

    def node(self, name: str) -> Host | Router:
        """The node called ``name``; TopologyError with the known names if there is none."""
        try:
            return self._by_name[name]
        except KeyError:
            remedy = instead(name, self._by_name)
            raise TopologyError(f"unknown node {name!r}", remedy=remedy) from None

    def host(self, name: str) -> Host:
        node = self.node(name)
        if not isinstance(node, Host):
            raise TopologyError(f"{name!r} is a router, a host is needed")
        return node

    def port(self, host: str) -> int:
        """Where the programs of ``host`` listen: it shares the number with no other host."""
        return self._ports[self.host(host).name]

    def attached(self, network: str) -> tuple[Host | Router, ...]:
        """The nodes on ``network``, which are inside of the router that serves it.

        Routers first: profiles count the nodes of a LAN in this order.
        """
        return self._attached.get(network, ())

    @cached_property
    def _attached(self) -> dict[str, tuple[Host | Router, ...]]:
        found: dict[str, dict[str, Host | Router]] = {}
        for node in self.nodes:
            for interface in node.interfaces:
                found.setdefault(interface.network, {})[node.name] = node
        return {network: tuple(some.values()) for network, some in found.items()}

    def router_serving(self, network: str) -> Router | None:
        """The router whose inside ``network`` is; None for the internet."""
        found = self.routers_serving(network)
        return found[0] if found else None

    def routers_serving(self, network: str) -> tuple[Router, ...]:
        """All whose inside ``network`` is: one of a sound graph."""
        return self._serving.get(network, ())

    @cached_property
    def _serving(self) -> dict[str, tuple[Router, ...]]:
        found: dict[str, list[Router]] = {}
        for router in self.routers:
            found.setdefault(router.lan, []).append(router)
        return {network: tuple(some) for network, some in found.items()}

    def region(self, host: str, by: Interface | None = None) -> str | None:
        """Where on the internet ``host``, or the last router on its way there, is."""
        way = self.path_out(host, by)
        return way[-1].region if way else self.host(host).region

    @property
    def cores(self) -> tuple[str, ...]:
        """The internet's own routers: one, or one for each region."""
        return tuple(map(core_of, self.regions.names)) or (CORE,)

    def path_out(self, host: str, by: Interface | None = None) -> tuple[Router, ...]:
        """The routers between ``host`` and the internet, nearest first.

        ``by`` is the interface that is left by; None: the preferred one.  A tunnel's path begins
        at its far end.
        """
        path: list[Router] = []
        network = (by or self.host(host).interfaces[0]).network
        while (router := self.router_serving(network)) is not None:
            path.append(router)
            network = router.interfaces[0].network
        return tuple(path)

    def ways_out(self, host: str) -> tuple[tuple[Router, ...], ...]:
        """The path out by each of the host's interfaces, the preferred one first."""
        return tuple(self.path_out(host, by) for by in self.host(host).interfaces)

    def around(self, host: str) -> tuple[str, ...]:
        """The host and all routers by which it may leave, each once: who bears its addresses."""
        routers = (router.name for way in self.ways_out(host) for router in way)
        return tuple(dict.fromkeys((host, *routers)))

    def on(self, node: str, network: str) -> bool:
        """Whether the node has an interface there."""
        return any(one.network == network for one in self.node(node).interfaces)

    def interface(self, node: str, word: str) -> Interface:
        """The node's interface on the network ``word``, or that is called so.

        Of several on that network, the first.  TopologyError if there is none.
        """
        interfaces = sorted(self.node(node).interfaces, key=lambda one: one.number)
        there = [one for one in interfaces if one.network == word]
        for one in there or (one for one in interfaces if one.name == word):
            return one
        raise TopologyError(f"no interface on network {word!r}", node=node)

    def wires_of(self, node: str) -> tuple[Interface, ...]:
        """Its interfaces that have a wire, in the order of declaration: a tunnel has none."""
        own = (one for one in self.node(node).interfaces if one.over is None)
        return tuple(sorted(own, key=lambda one: one.number))

    def switched(self, node: str, to: str) -> Self:
        """The topology once the default route of ``node`` leads by its interface called ``to``.

        Of a router that is the uplink in use.  TopologyError if it has no such interface.
        """
        found = self.node(node)
        names = [one.name for one in sorted(found.interfaces, key=lambda one: one.number)]
        if to not in names:
            raise TopologyError(f"no interface {to!r}", node=node, remedy=instead(to, names))
        number = names.index(to)

        def changed(one: N) -> N:
            return replace(one, preferred=number) if one.name == node else one

        routers, hosts = map(changed, self.routers), map(changed, self.hosts)
        return replace(self, routers=tuple(routers), hosts=tuple(hosts))

    def tunnel_ports(self, network: str) -> tuple[int, ...]:
        """The UDP ports at which the router that serves ``network`` ends tunnels to it."""
        return self._tunnel_ports.get(network, ())

    @cached_property
    def _tunnel_ports(self) -> dict[str, tuple[int, ...]]:
        found: dict[str, set[int]] = {}
        for host in self.hosts:
            for one in host.interfaces:
                if one.over:
                    found.setdefault(one.network, set()).add(one.port)
        return {network: tuple(sorted(some)) for network, some in found.items()}

    def wire(self, host: str, by: Interface) -> Link:
        """The link of an interface; of a tunnel, what delays all the way that carries it."""
        if by.over is None:
            return by.link
        server = self.router_serving(by.network)
        assert server is not None  # it was refused otherwise
        wires = (one for one in self.host(host).interfaces if one.over is None)
        carrier = next(one for one in wires if one.network == by.over)
        near = [carrier.link, *(r.interfaces[0].link for r in self.path_out(host, carrier))]
        far = server.interfaces[0].link
        half = self.regions.round_trip_ms(self.region(host, carrier), server.region) / 2
        up = half + sum(link.up.delay_ms for link in near) + far.down.delay_ms
        down = half + sum(link.down.delay_ms for link in near) + far.up.delay_ms
        return Link(Impairment(delay_ms=up), Impairment(delay_ms=down), TUNNEL_MTU)


def core_of(region: str | None) -> str:
    """The internet's own router in ``region``."""
    return CORE if region is None else f"{CORE}-{region}"
