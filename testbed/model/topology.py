"""What a lab consists of, as frozen values.  Nothing here touches the machine."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import cached_property
from itertools import count
from typing import Any, TypeVar

from testbed.errors import TopologyError
from testbed.model.behaviour import Protocol
from testbed.model.regions import NOWHERE, Regions
from testbed.naming import instead

SMALLEST_MTU = 576  # that every host must take (RFC 791); Linux refuses less than 68


class Scope(StrEnum):
    """Which kind of addresses a network carries."""

    PUBLIC = "public"  # addresses that stacks take for globally reachable
    PRIVATE = "private"  # RFC 1918
    SHARED = "shared"  # RFC 6598, between a carrier NAT and its subscribers


@dataclass(frozen=True)
class Impairment:
    """What a link does to frames in one direction."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0  # each frame is delayed by delay +- uniform(jitter), order kept
    loss: float = 0.0  # probability, 0..1
    rate_mbit: float | None = None
    burst: float | None = None  # frames that are lost in a row, on average; None: independently
    reorder: float = 0.0  # probability that a frame is not delayed, and so overtakes
    duplicate: float = 0.0  # probability that a frame comes twice
    queue_ms: float = 200.0  # what may wait for a line of limited rate; more is dropped
    largest: int | None = None  # bytes of an IP packet; a longer one vanishes without an answer

    def __post_init__(self) -> None:
        if self.delay_ms < 0 or self.jitter_ms < 0 or self.jitter_ms > self.delay_ms:
            raise TopologyError(
                f"delay {self.delay_ms} ms +- {self.jitter_ms} ms: need 0 <= jitter <= delay"
            )
        if not 0 <= self.loss <= 1:
            raise TopologyError(f"loss {self.loss}: a probability between 0 and 1 is needed")
        if self.rate_mbit is not None and self.rate_mbit <= 0:
            raise TopologyError(f"rate {self.rate_mbit} Mbit/s: a positive number is needed")
        self._require_sense()

    def _require_sense(self) -> None:
        for name in ("reorder", "duplicate"):
            if not 0 <= getattr(self, name) <= 1:
                raise TopologyError(f"{name}: a probability between 0 and 1 is needed")
        if self.burst is not None and not (self.burst >= 1 and 0 < self.loss < 1):
            raise TopologyError(f"burst {self.burst:g}: 1 frame or more, of a loss between 0 and 1")
        if self.reorder and not self.delay_ms:
            raise TopologyError("reorder: where nothing is delayed, nothing overtakes")
        if self.queue_ms <= 0:
            raise TopologyError(f"queue {self.queue_ms:g} ms: a positive number is needed")
        if self.largest is not None and self.largest < SMALLEST_MTU:
            raise TopologyError(f"largest {self.largest}: IPv4 needs {SMALLEST_MTU} (RFC 791)")

    @property
    def transparent(self) -> bool:
        """True when frames pass as on a bare wire."""
        return self == Impairment()

    @property
    def by_chance(self) -> bool:
        """Whether frames that are alike may fare differently."""
        return 0 < self.loss < 1 or bool(self.jitter_ms or self.reorder or self.duplicate)


@dataclass(frozen=True)
class Link:
    """A node's attachment: ``up`` leaves the node, ``down`` comes towards it.

    ``mtu`` is that of the interfaces at its two ends; who sends more is told so by ICMP.
    """

    up: Impairment = Impairment()
    down: Impairment = Impairment()
    mtu: int | None = None  # bytes of an IP packet; None: Ethernet's 1500

    @classmethod
    def both(cls, **impairment: Any) -> "Link":
        """The same impairment in both directions; keywords as in `Impairment`."""
        one = Impairment(**impairment)
        return cls(one, one)

    @property
    def transparent(self) -> bool:
        """True when frames pass as on a bare wire; its MTU is the interfaces' affair."""
        return self.up.transparent and self.down.transparent


@dataclass(frozen=True)
class Conditions:
    """What holds for the link of every node on the internet, in both its directions.

    None leaves a link as its world has it.  ``link`` is one of the catalogue
    (`testbed.model.links`), which stands for the world's of each home; the others change it.
    """

    delay_ms: float | None = None
    jitter_ms: float | None = None
    loss: float | None = None
    rate_mbit: float | None = None
    mtu: int | None = None
    link: str | None = None

    def over(self, link: Link) -> Link:
        """``link`` under these conditions; TopologyError where they cannot be."""
        ways = ("delay_ms", "jitter_ms", "loss", "rate_mbit")
        said = {name: value for name in ways if (value := getattr(self, name)) is not None}
        up, down = (replace(way, **said) for way in (link.up, link.down))
        return Link(up, down, link.mtu if self.mtu is None else self.mtu)

    @property
    def name(self) -> str:
        """For the names of cells: ``.delay-50.loss-0.1``, ``.link-lte``."""
        told = ((one.name.partition("_")[0], getattr(self, one.name)) for one in fields(self))
        said = ((key, value) for key, value in told if value is not None)
        return "".join(
            f".{key}-{value if isinstance(value, str) else format(value, 'g')}"
            for key, value in said
        )


AS_IT_IS = Conditions()


@dataclass(frozen=True)
class Network:
    """One segment.  Exactly one PUBLIC network, ``internet``, is the lab's core."""

    name: str
    scope: Scope


@dataclass(frozen=True)
class Interface:
    """By which a node is attached to ``network``, with addresses of its own.

    ``over`` makes it the end of a tunnel, which the router that serves ``network`` ends: what
    is sent here goes inside of datagrams by the host's own interface on the network ``over``.
    ``name`` is the kernel's, ``number`` its place in the node's declaration, the first one's 0.
    """

    network: str
    addresses: int = 1
    link: Link = Link()
    over: str | None = None
    name: str = ""
    number: int = 0


@dataclass(frozen=True)
class Host:
    """An end system with one or several interfaces, and one or more addresses on each.

    ``network``, ``addresses`` and ``link`` are of the first one, ``eth0``.  The default route
    leads by the interface whose number is ``preferred``; its first address is the one that
    programs are told to use.  A socket that is bound to another address leaves by its interface.
    """

    name: str
    network: str
    addresses: int = 1
    link: Link = Link()
    port: int | None = None  # where what it runs listens; None: one that no other host has
    region: str | None = None  # of the internet; None: behind a router, or there are none
    more: tuple[Interface, ...] = ()
    preferred: int = 0

    @cached_property
    def interfaces(self) -> tuple[Interface, ...]:
        """All, the preferred one first."""
        wires, tunnels = count(), count()
        return _preferred(
            self,
            [
                replace(one, name=f"tun{next(tunnels)}" if one.over else f"eth{next(wires)}")
                for one in (Interface(self.network, self.addresses, self.link), *self.more)
            ],
        )


@dataclass(frozen=True)
class PortForward:
    """A port of a router's first external address that is forwarded to ``node`` on its LAN."""

    protocol: Protocol
    external_port: int
    node: str  # a host, or the router of a network further inside
    internal_port: int


@dataclass(frozen=True)
class Router:
    """A NAT (or firewall) between ``lan`` (inside) and an uplink (outside).

    ``wan``, ``external_addresses`` and ``link`` are of the first uplink.  The one whose number
    is ``preferred`` is in use; the others stand by, and let nothing in or out.
    """

    name: str
    wan: str
    lan: str
    profile: str
    external_addresses: int = 1
    link: Link = Link()  # of the WAN interface
    region: str | None = None  # as a host's
    forwards: tuple[PortForward, ...] = ()  # the world's, beside those of its profile
    more: tuple[Interface, ...] = ()
    preferred: int = 0

    @cached_property
    def interfaces(self) -> tuple[Interface, ...]:
        """All uplinks, the one in use first."""
        uplinks = (Interface(self.wan, self.external_addresses, self.link), *self.more)
        names = ("wan", *(f"wan{number}" for number in range(1, len(uplinks))))
        return _preferred(self, [replace(u, name=n) for u, n in zip(uplinks, names, strict=True)])


def _preferred(node: Host | Router, interfaces: list[Interface]) -> tuple[Interface, ...]:
    if not 0 <= node.preferred < len(interfaces):
        raise TopologyError(
            f"interface {node.preferred}: it has {len(interfaces)}, the first is 0", node=node.name
        )
    numbered = [replace(one, number=number) for number, one in enumerate(interfaces)]
    return (numbered.pop(node.preferred), *numbered)


N = TypeVar("N", Host, Router)
INTERNET = "internet"
CORE = "core"  # the internet's own router; of a region, its name follows after a hyphen
TUNNEL_PORT = 4789  # of both ends of a tunnel: VXLAN's (RFC 7348)
TUNNEL_MTU = 1420  # bytes of an IP packet, as WireGuard's: what carries it must fit into 1500
FIRST_PORT = 4001  # of the first host without a port of its own
PORTS_APART = 10
OBSERVER = "observer-"  # how the names of observers begin, where no role says who observes


class Order(StrEnum):
    """When the pairs of a mesh meet."""

    AT_ONCE = "at_once"  # all of them begin at one moment
    IN_TURN = "in_turn"  # each when the one before has ended; what NATs remember of it stays


@dataclass(frozen=True)
class Roles:
    """Which host plays which part in a study."""

    a: str = "a"  # the dialer
    b: str = "b"  # the listener
    relay: str = "server"  # STUN and TURN server, libp2p relay
    observers: tuple[str, ...] | None = None  # None: all whose names begin with `OBSERVER`
    peers: tuple[str, ...] = ()  # of a mesh: each meets each, and who is named earlier dials


@dataclass(frozen=True)
class Topology:
    """A closed internet.  ``name`` is the world's; nodes are in order of declaration."""

    name: str
    networks: tuple[Network, ...]
    routers: tuple[Router, ...]
    hosts: tuple[Host, ...]
    roles: Roles = Roles()
    regions: Regions = NOWHERE
    _by_name: dict[str, Host | Router] = field(init=False, repr=False, compare=False, hash=False)
    _ports: dict[str, int] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        nodes: list[Host | Router] = [*self.routers, *self.hosts]
        _refuse_duplicates("node", [node.name for node in nodes])
        _refuse_duplicates("network", [network.name for network in self.networks])
        if [n.name for n in self.networks if n.scope is Scope.PUBLIC] != [INTERNET]:
            raise TopologyError(f"exactly one public network, named {INTERNET!r}, is needed")
        self._refuse_unknown_networks(nodes)
        for network in self.networks:
            serving = [r.name for r in self.routers if r.lan == network.name]
            if network.scope is not Scope.PUBLIC and len(serving) != 1:
                raise TopologyError(
                    f"network {network.name!r} needs exactly one router that serves it, "
                    f"not {serving or 'none'}"
                )
        for router in self.routers:
            if router.lan == INTERNET:
                raise TopologyError("the internet cannot be a router's LAN", node=router.name)
            self._refuse_loop(router)
            self._refuse_stray_forwards(router)
        self._refuse_misplaced(nodes)
        object.__setattr__(self, "_by_name", {node.name: node for node in nodes})
        for host in self.hosts:
            for one in host.interfaces:
                self._refuse_tunnel(host, one)
        self._refuse_missing_players()
        object.__setattr__(self, "_ports", _ports(self.hosts))

    def _refuse_unknown_networks(self, nodes: Iterable[Host | Router]) -> None:
        known = {network.name for network in self.networks}
        for node in nodes:
            wanted = [one.network for one in node.interfaces]
            for name in wanted if isinstance(node, Host) else (*wanted, node.lan):
                if name not in known:
                    raise TopologyError(f"unknown network {name!r}", node=node.name)
            _refuse_twice(node)

    def _refuse_loop(self, router: Router, below: frozenset[str] = frozenset()) -> None:
        if router.lan in below:
            raise TopologyError("routers serve one another in a circle", node=router.name)
        for uplink in router.interfaces:
            if (above := self.router_serving(uplink.network)) is not None:
                self._refuse_loop(above, below | {router.lan})

    def _refuse_tunnel(self, host: Host, one: Interface) -> None:
        """A tunnel that leads nowhere, or through itself."""
        if one.over is None:
            return
        server = self.router_serving(one.network)
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
        ends = {other.network for each in self.hosts for other in each.interfaces if other.over}
        if server in self.path_out(host.name, carriers[0]) or one.over in ends:
            raise TopologyError(
                f"a tunnel over {one.over!r}: that network is reached by a tunnel itself",
                node=host.name,
            )

    def _refuse_stray_forwards(self, router: Router) -> None:
        inside = [node.name for node in self.attached(router.lan)]
        for forward in router.forwards:
            if forward.node not in inside:
                raise TopologyError(
                    f"a port is forwarded to {forward.node!r}, which is not on {router.lan!r}",
                    node=router.name,
                )

    def _refuse_misplaced(self, nodes: Iterable[Host | Router]) -> None:
        """Regions are the internet's: each node that is attached to it names one of them."""
        for node in nodes:
            outside = any(one.network == INTERNET for one in node.interfaces)
            if node.region is None:
                if outside and self.regions.names:
                    raise TopologyError(
                        "it is on the internet, and names no region of it",
                        node=node.name,
                        remedy=f"regions: {', '.join(self.regions.names)}",
                    )
            elif not outside:
                raise TopologyError("it is not on the internet, and names a region", node=node.name)
            elif node.region not in self.regions.names:
                raise TopologyError(
                    f"unknown region {node.region!r}",
                    node=node.name,
                    remedy=instead(node.region, self.regions.names),
                )
        if idle := set(self.regions.names) - {node.region for node in nodes}:
            raise TopologyError(f"no node is in region {min(idle)!r}")

    def _refuse_missing_players(self) -> None:
        """A role that somebody was named for; the usual names need not be there."""
        usual, said = Roles(), self.roles
        for name, other in ((said.a, usual.a), (said.b, usual.b), (said.relay, usual.relay)):
            if name != other:
                self.host(name)
        for name in (*(said.observers or ()), *said.peers):
            self.host(name)

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
        on = (node for node in self.nodes if any(o.network == network for o in node.interfaces))
        return tuple(on)

    def router_serving(self, network: str) -> Router | None:
        """The router whose inside ``network`` is; None for the internet."""
        return next((r for r in self.routers if r.lan == network), None)

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

    def interface(self, node: str, network: str) -> Interface:
        """The node's interface there; TopologyError if it has none."""
        for one in self.node(node).interfaces:
            if one.network == network:
                return one
        raise TopologyError(f"no interface on network {network!r}", node=node)

    def switched(self, node: str, to: str) -> "Topology":
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


def _ports(hosts: Iterable[Host]) -> dict[str, int]:
    """Of each host.  Who takes one end's port for the other's must not get away with it."""
    found: dict[str, int] = {}
    taken: dict[int, str] = {}
    for host in hosts:
        if host.port is None:
            continue
        if not 0 < host.port < 65536:
            raise TopologyError(f"port {host.port}: 1 to 65535 are possible", node=host.name)
        if (other := taken.setdefault(host.port, host.name)) != host.name:
            raise TopologyError(f"{other!r} has port {host.port}, too", node=host.name)
        found[host.name] = host.port
    free = (port for port in count(FIRST_PORT, PORTS_APART) if port not in taken)
    return found | {host.name: next(free) for host in hosts if host.port is None}


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
