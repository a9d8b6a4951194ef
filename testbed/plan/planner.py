"""Topology and profiles in, ordered steps out.  Pure: nothing is touched or read."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from testbed.errors import TopologyError
from testbed.model.furnishing import furnished
from testbed.model.plan import (
    AddBridge,
    AddLink,
    AddNeighbour,
    AddNode,
    AddRoute,
    AddRule,
    Blackhole,
    End,
    LoadRules,
    NodeKind,
    Plan,
    ServeNames,
    ServePortMapping,
    SetSysctls,
    Step,
    Tunnel,
    Vantage,
    WriteFiles,
)
from testbed.model.profile import Profile
from testbed.model.topology import (
    INTERNET,
    Host,
    Impairment,
    Interface,
    Link,
    Network,
    Router,
    Scope,
    Topology,
    core_of,
)
from testbed.nat.rules import RouterContext, hooks, render
from testbed.plan.addresses import AddressPool, Room, mac, nth
from testbed.plan.site import Site

QUIET = (
    ("net.ipv6.conf.all.disable_ipv6", "1"),
    ("net.ipv6.conf.default.disable_ipv6", "1"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.default.rp_filter", "0"),
    # Where br_netfilter is loaded (by Docker, say) a LAN's own frames would have to
    # pass the router's FORWARD chain.
    ("net.bridge.bridge-nf-call-iptables", "0"),
)
FORWARDING = ("net.ipv4.ip_forward", "1")
# The events of its flows bear the time at which they happened, not that of their receipt.
STAMPED = ("net.netfilter.nf_conntrack_timestamp", "1")
ANYWHERE = IPv4Network("0.0.0.0/0")
ZONE = "lab"  # in which the names of a world with a DNS server are
OWN_TABLES = 100  # the routing table of a host's first interface, where it has several
_USUAL = Site()


def plan(
    topology: Topology,
    profiles: Mapping[str, Profile],
    number: int = 0,
    seed: int = 0,
    sites: Mapping[str, Site] | None = None,
) -> Plan:
    """All steps of a lab.

    ``profiles`` holds at least those that the topology's routers name; ``number``
    (0..255) separates the addresses of parallel labs; from ``seed`` each router gets one
    of its own, by which it chooses ports; ``sites`` has the routers whose names and
    addresses are told.  Raises ProfileError for an
    unknown profile and TopologyError when the lab's address space is too small.
    """
    made = furnished(topology, profiles)
    names = {r.name for r in topology.routers} | {h.name for h in topology.hosts}
    if taken := names.intersection(topology.cores):
        raise TopologyError(f"{min(taken)!r} is the internet's own router, choose another name")
    return _Planner(topology, made, number, seed, sites or {}).plan()


def own_seed(seed: int, node: str) -> int:
    """What ``node`` draws from in a lab of ``seed``: another number for each node."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{node}".encode()).digest()[:8])


@dataclass
class _Attachment:
    """A node's interface on a network, with the addresses it was given.

    ``number`` is its place among the node's interfaces, the preferred one's 0.
    """

    node: str
    ifname: str
    addresses: tuple[IPv4Interface, ...]
    link: Link = Link()
    number: int = 0
    tunnel: Tunnel | None = None
    second: bool = False

    @property
    def mac(self) -> str:
        return mac(self.addresses[0].ip)


@dataclass
class _Planner:
    topology: Topology
    profiles: Mapping[str, Profile]  # by router
    number: int
    seed: int
    sites: Mapping[str, Site]
    pool: AddressPool = field(init=False)
    wires: list[Step] = field(default_factory=list)
    neighbours: list[Step] = field(default_factory=list)
    routes: list[Step] = field(default_factory=list)
    vantages: list[Vantage] = field(default_factory=list)
    borne: dict[tuple[str, int], tuple[IPv4Address, ...]] = field(default_factory=dict)
    tunnels: int = 0  # so far
    # The internet's interface that a node's first address there is reached by.
    ports: dict[IPv4Address, _Attachment] = field(default_factory=dict)
    tunnelled: set[str] = field(init=False)  # networks that are reached by a tunnel
    internal: dict[str, IPv4Address] = field(default_factory=dict)
    inside: dict[str, IPv4Network] = field(default_factory=dict)
    owners: dict[IPv4Address, str] = field(default_factory=dict)
    # From core to core: the address there.
    passages: dict[tuple[str, str], IPv4Address] = field(default_factory=dict)

    def plan(self) -> Plan:
        self.pool = AddressPool(self.number, self._room())
        interfaces = (one for host in self.topology.hosts for one in host.interfaces)
        self.tunnelled = {one.network for one in interfaces if one.over}
        for network in self.topology.networks:
            if network.name == INTERNET:
                self._internet()
        for network in self._lans():
            self._lan(network)
        self.routes += [Blackhole(core, ANYWHERE) for core in self.topology.cores]
        steps = (*self._nodes(), *self.wires, *self.neighbours, *self.routes)
        return Plan(
            topology=self.topology,
            number=self.number,
            steps=(*steps, *self._rules(), *self._files()),
            addresses=self._addresses(),
            internal=dict(self.internal),
            owners=dict(self.owners),
            vantages=tuple(self.vantages),
            seed=self.seed,
            seeds=self._seeds(),
            behaviours={name: one.behaviour for name, one in self.profiles.items()},
        )

    def _nodes(self) -> list[Step]:
        """Only the core forwards from the start; routers do once their rules are in."""
        sysctls = {NodeKind.CORE: (*QUIET, FORWARDING), NodeKind.ROUTER: (*QUIET, STAMPED)}
        kinds = [(core, NodeKind.CORE) for core in self.topology.cores]
        kinds += [(router.name, NodeKind.ROUTER) for router in self.topology.routers]
        kinds += [(host.name, NodeKind.HOST) for host in self.topology.hosts]
        return [AddNode(name, kind, sysctls.get(kind, QUIET)) for name, kind in kinds]

    def _room(self) -> Room:
        """How many networks of each kind there will be, at most."""
        on_internet = len(self._attached(INTERNET)) + len(self.topology.regions.pairs)
        scopes = [network.scope for network in self.topology.networks]
        by_router = [self.profiles[one.name].behaviour.translates for one in self.topology.routers]
        return Room(
            public=on_internet + by_router.count(False),
            private=scopes.count(Scope.PRIVATE),
            shared=scopes.count(Scope.SHARED),
        )

    def _seeds(self) -> dict[str, int]:
        """Two NATs of one profile must not choose ports alike: it would hide a peer's mistakes."""
        return {router.name: own_seed(self.seed, router.name) for router in self.topology.routers}

    def _lans(self) -> list[Network]:
        """All but the internet; those with the end of a tunnel last, for it needs addresses."""
        lans = [network for network in self.topology.networks if network.name != INTERNET]
        return sorted(lans, key=lambda network: network.name in self.tunnelled)

    def _attached(self, network: str) -> list[tuple[Router | Host, int]]:
        """Who is on ``network``, and by which of its interfaces, as a number."""
        return [
            (node, number)
            for node in self.topology.attached(network)
            for number, interface in enumerate(node.interfaces)
            if interface.network == network
        ]

    def _addresses(self) -> dict[str, tuple[IPv4Address, ...]]:
        """Of each node, its preferred interface's first."""
        found: dict[str, tuple[IPv4Address, ...]] = {}
        for (node, _), addresses in sorted(self.borne.items(), key=lambda item: item[0][1]):
            found[node] = found.get(node, ()) + addresses
        return {node: found[node] for node, _ in self.borne}

    def _internet(self) -> None:
        """A /26 and a wire to its core for each interface that is on the internet."""
        self._between_regions()
        for index, (node, number) in enumerate(self._attached(INTERNET)):
            subnet = self.pool.public(node.interfaces[number].addresses)
            outside = self._attach(node, number, subnet)
            site = self._site(node.name) if not outside.second else _USUAL
            gateway = nth(subnet, 1)
            if site.outside is not None and site.gateway is not None:
                gateway = IPv4Interface((site.gateway, site.outside.network.prefixlen))
            plain = len(node.name) <= 15 and not outside.second
            name = node.name if plain else f"port{index}"
            core = _Attachment(core_of(node.region), name, (gateway,))
            self.ports[outside.addresses[0].ip] = core
            self._wire(outside, core)
            self._introduce(outside, core)
            self._default_route(outside, gateway.ip)
            self.owners[gateway.ip] = core.node
            self._tell_regions(subnet, core.node)
            self._route_to(site, core, outside)

    def _site(self, node: str) -> Site:
        return self.sites.get(node, _USUAL)

    def _between_regions(self) -> None:
        """A wire between each two cores, which takes half the round trip."""
        for one, other, rtt_ms in self.topology.regions.pairs:
            subnet, half = self.pool.public(), Impairment(delay_ms=rtt_ms / 2)
            link = Link(half, half)
            here = _Attachment(core_of(one), core_of(other), (nth(subnet, 1),), link)
            there = _Attachment(core_of(other), core_of(one), (nth(subnet, 2),))
            self.vantages.append(Vantage(here.node, here.ifname))
            self._wire(here, there)
            self._introduce(here, there)
            for end in (here, there):
                self.owners[end.addresses[0].ip] = end.node
            self.passages[here.node, there.node] = there.addresses[0].ip
            self.passages[there.node, here.node] = here.addresses[0].ip

    def _tell_regions(self, subnet: IPv4Network, core: str) -> None:
        """The other cores reach ``subnet`` by ``core``."""
        for (here, there), gateway in self.passages.items():
            if there == core:
                self.routes.append(AddRoute(here, subnet, gateway, there))

    def _route_to(self, site: Site, core: _Attachment, outside: _Attachment) -> None:
        """The provider's routes to what lies outside of the network that both share."""
        upstream = outside.addresses[0].ip
        beyond = [IPv4Network(address) for address in site.more]
        beyond = [one for one in beyond if not one.subnet_of(outside.addresses[0].network)]
        for network in (*beyond, *site.routed):
            self.routes.append(AddRoute(core.node, network, upstream, core.ifname))
            self._tell_regions(network, core.node)
        # What a router was given and uses for nothing does not go back to the provider.
        self.routes += [Blackhole(outside.node, network) for network in site.routed]

    def _lan(self, network: Network) -> None:
        """A LAN behind its router: one wire for one host, a bridge for several."""
        router = self.topology.router_serving(network.name)
        assert router is not None  # Topology has checked it
        site = self._site(router.name)
        inside = site.inside or nth(self._subnet(network, router), 1)
        subnet = inside.network
        if site.published:
            self._publish(subnet, router)
        gateway = _Attachment(router.name, site.lan, (inside,))
        self.inside[router.name] = subnet
        self.internal[router.name] = gateway.addresses[0].ip
        self.owners[gateway.addresses[0].ip] = router.name
        self.vantages.append(Vantage(router.name, site.lan))
        members: list[_Attachment] = []
        for node, number in self._attached(network.name):
            members.append(self._attach(node, number, subnet, site.hosts[len(members) :]))
        if len(members) == 1:
            self._wire(members[0], gateway, vantage=False)
        else:
            self._bridge(gateway, members)
        for position, member in enumerate(members):
            self._introduce(member, gateway)
            for other in members[position + 1 :]:
                self._introduce(member, other)
            self._default_route(member, gateway.addresses[0].ip)

    def _subnet(self, network: Network, router: Router) -> IPv4Network:
        """Inside a router that does not translate, hosts on the internet's own addresses."""
        attached = self._attached(network.name)
        nodes = sum(node.interfaces[number].addresses for node, number in attached)
        if network.scope is Scope.SHARED:
            return self.pool.shared(nodes)
        behaviour = self.profiles[router.name].behaviour
        if not behaviour.translates and len(router.interfaces) > 1:
            raise TopologyError(
                "it does not translate, and has several uplinks: the way to its network is one",
                node=router.name,
                remedy="write `wan` in place of `uplinks`, or name a profile that translates",
            )
        if behaviour.translates or router.interfaces[0].network != INTERNET:
            return self.pool.private(nodes)
        subnet = self.pool.public(nodes)
        self._publish(subnet, router)
        return subnet

    def _publish(self, subnet: IPv4Network, router: Router) -> None:
        """The internet's routes to the LAN of a router on it."""
        upstream = self.borne[router.name, 0][0]
        core = self.ports[upstream]
        self.routes.append(AddRoute(core.node, subnet, upstream, core.ifname))
        self._tell_regions(subnet, core.node)

    def _attach(
        self,
        node: Router | Host,
        number: int,
        subnet: IPv4Network,
        told: tuple[IPv4Address, ...] = (),
    ) -> _Attachment:
        """The node's interface; its address is the first that is ``told``, if one is."""
        interface = node.interfaces[number]
        first = interface.name in ("eth0", _USUAL.wan)
        site = self._site(node.name) if first else _USUAL
        name = site.wan if interface.name == _USUAL.wan else interface.name
        if interface.addresses < 1:
            raise TopologyError(
                f"{interface.addresses} addresses: at least one is needed", node=node.name
            )
        if told:
            addresses: tuple[IPv4Interface, ...] = (IPv4Interface((told[0], subnet.prefixlen)),)
        else:
            wanted = interface.addresses
            addresses = tuple(site.addresses()) or self.pool.members(subnet, wanted)
        self.borne[node.name, number] = tuple(address.ip for address in addresses)
        self.owners.update((address.ip, node.name) for address in addresses)
        self.vantages.append(Vantage(node.name, name))
        link, tunnel = interface.link, None
        if isinstance(node, Host) and interface.over is not None:
            link, tunnel = self.topology.wire(node.name, interface), self._tunnel(node, interface)
        return _Attachment(node.name, name, addresses, link, number, tunnel, not first)

    def _tunnel(self, host: Host, interface: Interface) -> Tunnel:
        """Between the host's address on the network that carries it, and the server's outside."""
        carriers = (
            number
            for number, one in enumerate(host.interfaces)
            if one.network == interface.over and one.over is None
        )
        server = self.topology.router_serving(interface.network)
        assert server is not None  # Topology has checked it
        self.tunnels += 1
        near, far = self.borne[host.name, next(carriers)][0], self.borne[server.name, 0][0]
        return Tunnel(near, far, self.tunnels, interface.port)

    def _wire(self, outer: _Attachment, gateway: _Attachment, vantage: bool = True) -> None:
        self._lay(outer, End(gateway.node, gateway.ifname, gateway.mac, gateway.addresses))
        if vantage:
            self.vantages.append(Vantage(gateway.node, gateway.ifname))

    def _lay(self, outer: _Attachment, end: End) -> None:
        near = End(outer.node, outer.ifname, outer.mac, outer.addresses)
        ways = (outer.link.up, outer.link.down, outer.link.mtu)
        self.wires.append(AddLink(near, end, *ways, outer.tunnel, outer.second))

    def _bridge(self, gateway: _Attachment, members: list[_Attachment]) -> None:
        lan = gateway.ifname
        port = lan if lan == _USUAL.lan else "bench-port"
        self.wires.append(AddBridge(gateway.node, lan, gateway.mac, gateway.addresses))
        for index, member in enumerate(members):
            port_mac = "06" + member.mac[2:]
            self._lay(member, End(gateway.node, f"{port}{index}", port_mac, bridge=lan))

    def _introduce(self, one: _Attachment, other: _Attachment) -> None:
        """Each knows the other's MAC address for good."""
        for here, there in ((one, other), (other, one)):
            self.neighbours += [
                AddNeighbour(here.node, here.ifname, address.ip, there.mac)
                for address in there.addresses
            ]

    def _default_route(self, member: _Attachment, gateway: IPv4Address) -> None:
        """By the preferred interface; by another one, of what is sent from its address alone.

        A router has no such sockets: there, another uplink's route stands by.
        """
        name, number = member.ifname, member.number
        self.routes.append(AddRoute(member.node, ANYWHERE, gateway, name, number))
        node = self.topology.node(member.node)
        if isinstance(node, Host) and len(node.interfaces) > 1:
            table = OWN_TABLES + number
            subnets = dict.fromkeys(address.network for address in member.addresses)
            self.routes += [AddRoute(node.name, net, None, name, table=table) for net in subnets]
            self.routes.append(AddRoute(node.name, ANYWHERE, gateway, name, table=table))
            self.routes += [AddRule(node.name, one.ip, table) for one in member.addresses]

    def _rules(self) -> list[Step]:
        steps: list[Step] = []
        seeds = self._seeds()
        for router in self.topology.routers:
            context = RouterContext(
                wan=self._outward(router),
                lan=self._site(router.name).lan,
                external=self.borne[router.name, 0],
                inside=self.inside[router.name],
                lan_hosts=tuple(self.borne[n.name, i][0] for n, i in self._attached(router.lan)),
                serves=self.topology.tunnel_ports(router.lan),
                seed=seeds[router.name],
            )
            profile = self.profiles[router.name]
            rules = render(profile, context)
            steps += [
                LoadRules(router.name, engine, text, rules.refuses) for engine, text in rules.texts
            ]
            # Forwarding is switched on last: no packet crosses an unfinished NAT.
            sysctls = tuple(item for item in rules.sysctls if item != FORWARDING)
            steps.append(SetSysctls(router.name, (*sysctls, FORWARDING)))
            if daemon := hooks(profile, context):
                steps.append(
                    ServePortMapping(router.name, daemon.gateway, daemon.chains, daemon.config)
                )
        return steps

    def _outward(self, router: Router) -> str:
        """The kernel's name of the uplink in use."""
        name = router.interfaces[0].name
        return self._site(router.name).wan if name == _USUAL.wan else name

    def _files(self) -> list[Step]:
        names = [(node, ips[0]) for node, ips in self._addresses().items()]
        local, dns = ["127.0.0.1\tlocalhost"], self.topology.roles.dns
        steps: list[Step] = []
        if dns is None:
            local += [f"{ip}\t{node}" for node, ip in names]
            resolv = "# The lab has no resolver: names are in the hosts file.\n"
        else:
            steps.append(ServeNames(dns, server := dict(names)[dns], tuple(names)))
            resolv = f"search {ZONE}\nnameserver {server}\noptions timeout:1 attempts:2\n"
        table = "\n".join([*local, ""])
        return [*steps, *(WriteFiles(host.name, table, resolv) for host in self.topology.hosts)]
