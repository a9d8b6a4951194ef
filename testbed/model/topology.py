"""What a lab consists of, as frozen values.  Nothing here touches the machine."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from itertools import count
from typing import Any

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
    (`testbed.model.links`), which stands for the world's; the others change it.
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
class Host:
    """An end system with one interface, ``eth0``, and one or more addresses."""

    name: str
    network: str
    addresses: int = 1
    link: Link = Link()
    port: int | None = None  # where what it runs listens; None: one that no other host has
    region: str | None = None  # of the internet; None: behind a router, or there are none


@dataclass(frozen=True)
class PortForward:
    """A port of a router's first external address that is forwarded to ``node`` on its LAN."""

    protocol: Protocol
    external_port: int
    node: str  # a host, or the router of a network further inside
    internal_port: int


@dataclass(frozen=True)
class Router:
    """A NAT (or firewall) between ``lan`` (inside) and ``wan`` (outside)."""

    name: str
    wan: str
    lan: str
    profile: str
    external_addresses: int = 1
    link: Link = Link()  # of the WAN interface
    region: str | None = None  # as a host's
    forwards: tuple[PortForward, ...] = ()  # the world's, beside those of its profile


INTERNET = "internet"
CORE = "core"  # the internet's own router; of a region, its name follows after a hyphen
FIRST_PORT = 4001  # of the first host without a port of its own
PORTS_APART = 10
OBSERVER = "observer-"  # how the names of observers begin, where no role says who observes


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
        known = {network.name for network in self.networks}
        for node in nodes:
            wanted = (node.network,) if isinstance(node, Host) else (node.wan, node.lan)
            for name in wanted:
                if name not in known:
                    raise TopologyError(f"unknown network {name!r}", node=node.name)
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
        self._refuse_missing_players()
        object.__setattr__(self, "_ports", _ports(self.hosts))

    def _refuse_loop(self, router: Router) -> None:
        seen = {router.lan}
        while router.wan != INTERNET:
            if router.wan in seen:
                raise TopologyError("routers serve one another in a circle", node=router.name)
            seen.add(router.wan)
            router = next(r for r in self.routers if r.lan == router.wan)

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
            outside = (node.network if isinstance(node, Host) else node.wan) == INTERNET
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
        links = (*(host.link for host in self.hosts), *(router.link for router in self.routers))
        return any(way.by_chance for link in links for way in (link.up, link.down))

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
        routers = (router for router in self.routers if router.wan == network)
        return (*routers, *(host for host in self.hosts if host.network == network))

    def router_serving(self, network: str) -> Router | None:
        """The router whose inside ``network`` is; None for the internet."""
        return next((r for r in self.routers if r.lan == network), None)

    def region(self, host: str) -> str | None:
        """Where on the internet ``host``, or the last router on its way there, is."""
        way = self.path_out(host)
        return way[-1].region if way else self.host(host).region

    @property
    def cores(self) -> tuple[str, ...]:
        """The internet's own routers: one, or one for each region."""
        return tuple(map(core_of, self.regions.names)) or (CORE,)

    def path_out(self, host: str) -> tuple[Router, ...]:
        """The routers between ``host`` and the internet, nearest first."""
        path: list[Router] = []
        network = self.host(host).network
        while (router := self.router_serving(network)) is not None:
            path.append(router)
            network = router.wan
        return tuple(path)


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


def _refuse_duplicates(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if not name or len(name) > 32 or not all(c.isalnum() or c in "-_" for c in name):
            raise TopologyError(f"{what} name {name!r}: 1 to 32 letters, digits, '-' or '_'")
        if name in seen:
            raise TopologyError(f"two {what}s are called {name!r}")
        seen.add(name)
