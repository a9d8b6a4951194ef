"""A lab as ordered steps: what a backend does, and what `testbed plan` prints.

Steps are given in an order in which they can be applied one after another; a
backend may batch them.  Nothing here touches the machine.
"""

from dataclasses import field
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import takewhile
from typing import TypeVar

from testbed.model.address import MAIN
from testbed.model.behaviour import Behaviour, Exposed, Gateway, Protocol
from testbed.model.entrance import entrance, reached_ports
from testbed.model.frozen import FrozenValue
from testbed.model.packet import Endpoint
from testbed.model.refusal import UNKNOWN, Refuses
from testbed.model.topology import Impairment, Interface, Topology

LAN = "lan"  # a router's interface inside; every other one is outside
S = TypeVar("S")


class NodeKind(StrEnum):
    CORE = "core"  # the router of the internet itself, trusted, no NAT
    ROUTER = "router"
    HOST = "host"


class Engine(StrEnum):
    """Which tool loads a rule set."""

    IPTABLES = "iptables"  # text for iptables-restore
    NFTABLES = "nftables"  # text for nft -f


class AddNode(FrozenValue):
    """A network namespace (or container) and the sysctls it starts with."""

    node: str
    kind: NodeKind
    sysctls: tuple[tuple[str, str], ...] = ()  # key below /proc/sys with dots, value


class End(FrozenValue):
    """One end of a link: an interface of a node."""

    node: str
    ifname: str
    mac: str
    addresses: tuple[IPv4Interface, ...] = ()
    bridge: str | None = None  # the node's bridge that this end is a port of


class AddBridge(FrozenValue):
    """A bridge inside a node, for LANs of several hosts."""

    node: str
    ifname: str
    mac: str
    addresses: tuple[IPv4Interface, ...]


class Tunnel(FrozenValue):
    """Frames go as datagrams between these addresses of the ends' nodes, a's first.

    The format is VXLAN's (RFC 7348), ``number`` its network identifier.  As WireGuard does, b
    answers to wherever a's last datagram came from, so NATs may lie between.
    """

    near: IPv4Address
    far: IPv4Address
    number: int
    port: int  # of b


class AddLink(FrozenValue):
    """A wire between two ends, impaired in each direction.

    Of a tunnel the impairments are what the wires on its way amount to, and are made there.
    """

    a: End
    b: End
    a_to_b: Impairment = Impairment()
    b_to_a: Impairment = Impairment()
    mtu: int | None = None  # of the interfaces at both ends; None: Ethernet's 1500
    tunnel: Tunnel | None = None  # what carries it in place of a wire
    second: bool = False  # of a's interfaces not the first

    @property
    def name(self) -> str:
        """By which the lab knows it: ``nat-a-core``; of a second interface ``phone:eth1-core``."""
        near = f"{self.a.node}:{self.a.ifname}" if self.second else self.a.node
        return f"{near}-{self.b.node}"

    @property
    def transparent(self) -> bool:
        return self.a_to_b.transparent and self.b_to_a.transparent


class AddNeighbour(FrozenValue):
    """A permanent ARP entry, so that no experiment waits for or loses ARP."""

    node: str
    ifname: str
    address: IPv4Address
    mac: str


class AddRoute(FrozenValue):
    """A route in a node, by gateway or, where that is None, on the link.

    Where several lead to one destination, the smallest ``metric`` is taken.
    """

    node: str
    destination: IPv4Network
    gateway: IPv4Address | None
    ifname: str
    metric: int = 0
    table: int = MAIN


class AddRule(FrozenValue):
    """What a node sends from ``source`` asks routing table ``table`` before the main one."""

    node: str
    source: IPv4Address
    table: int


class Blackhole(FrozenValue):
    """Packets to ``destination`` with no better route vanish without an answer."""

    node: str
    destination: IPv4Network


class LoadRules(FrozenValue):
    """A rule set, loaded before any peer starts."""

    node: str
    engine: Engine
    text: str
    refuses: Refuses = UNKNOWN


class SetSysctls(FrozenValue):
    """Sysctls that exist only, or make sense only, once the rules are loaded."""

    node: str
    sysctls: tuple[tuple[str, str], ...]


class ServePortMapping(FrozenValue):
    """A gateway's program in a router, which serves while the lab is up.

    ``chains`` (for ``nft -f``) is the table that it writes its mappings to, and is
    loaded before it starts; ``config`` is its configuration, in its own format.
    """

    node: str
    gateway: Gateway
    chains: str
    config: str


class ServeNames(FrozenValue):
    """A DNS server in a host, which serves while the lab is up, at port 53 of its ``address``."""

    node: str
    address: IPv4Address
    names: tuple[tuple[str, IPv4Address], ...]


class WriteFiles(FrozenValue):
    """The /etc/hosts and /etc/resolv.conf that the node's processes see."""

    node: str
    hosts: str
    resolv: str


Step = (
    AddNode
    | AddBridge
    | AddLink
    | AddNeighbour
    | AddRoute
    | AddRule
    | Blackhole
    | LoadRules
    | SetSysctls
    | ServePortMapping
    | ServeNames
    | WriteFiles
)


class Vantage(FrozenValue):
    """An interface whose packets are captured, named as in the pcapng."""

    node: str
    ifname: str

    @property
    def name(self) -> str:
        """For example ``nat-a:wan``."""
        return f"{self.node}:{self.ifname}"


class Plan(FrozenValue):
    """All of a lab, computed from a topology and the profiles of its routers."""

    topology: Topology
    number: int  # 0..255; separates the addresses of labs that run side by side
    steps: tuple[Step, ...]
    addresses: dict[str, tuple[IPv4Address, ...]]  # node -> outside ones, as `Host.interfaces`
    internal: dict[str, IPv4Address]  # router -> its address inside
    owners: dict[IPv4Address, str]  # every address of the lab -> node
    vantages: tuple[Vantage, ...]
    seed: int = 0  # of the lab: what links draw chance from
    seeds: dict[str, int] = field(default_factory=dict)  # router -> what it chooses ports by
    behaviours: dict[str, Behaviour] = field(default_factory=dict)  # router -> what it declares

    def port(self, host: str) -> int:
        """Where the programs of ``host`` listen."""
        return self.topology.port(host)

    def of(self, kind: type[S]) -> list[S]:
        """The steps of one kind, in order."""
        return [step for step in self.steps if isinstance(step, kind)]

    def address_on(self, node: str, network: str) -> IPv4Address:
        """The first address of ``node`` on ``network``; TopologyError if it has none there."""
        return self.addresses_of(node, self.topology.interface(node, network))[0]

    def addresses_of(self, node: str, interface: Interface) -> tuple[IPv4Address, ...]:
        """Those of one of the node's interfaces."""
        before = takewhile(interface.__ne__, self.topology.node(node).interfaces)
        first = sum(one.addresses for one in before)
        return self.addresses[node][first : first + interface.addresses]

    def address(self, node: str, index: int = 0) -> IPv4Address:
        """The node's ``index``-th address (for a router: outside)."""
        return self.addresses[node][index]

    def entrance(self, host: str, protocol: Protocol, port: int) -> Endpoint:
        """Where others reach ``port`` of ``host``, which may be behind NATs that forward it."""
        found = entrance(self.topology, self.behaviours, host, protocol, port)
        return Endpoint(self.address(found.node, found.number), found.port)

    def exposed(self, router: str, external: IPv4Address) -> IPv4Address | None:
        """Who gets what nothing else takes at one of a router's external addresses."""
        return self._exposed.get((router, external))

    def meant(self, endpoint: Endpoint) -> str | None:
        """The node that what is sent to ``endpoint`` is meant for; None: it is nobody's.

        It has the address; or is behind the NAT that has it, which forwards the port there, keeps
        the address for it, or has no other host behind it.
        """
        while (inside := self._inside(endpoint)) is not None:
            endpoint = inside
        owner = self.owners.get(endpoint.address)
        return None if owner is None else self._alone.get(owner, owner)

    def reached_ports(self, host: str, ports: tuple[int, int]) -> tuple[int, int]:
        """The first and the last of UDP ``ports`` of ``host`` that others reach as they are."""
        return reached_ports(self.topology, self.behaviours, host, ports)

    @cached_property
    def _forwarded(self) -> dict[Endpoint, Endpoint]:
        """What each port that is forwarded leads to on the LAN, of either protocol."""
        found = {}
        for router in self.topology.routers:
            inside = self.topology.attached(router.lan)
            for forward in self.behaviours[router.name].forwards if self.behaviours else ():
                if forward.host < len(inside):
                    target = self.address_on(inside[forward.host].name, router.lan)
                    outside = Endpoint(self.address(router.name), forward.external_port)
                    found[outside] = Endpoint(target, forward.internal_port)
        return found

    def _inside(self, endpoint: Endpoint) -> Endpoint | None:
        """Whom it leads to on the LAN, whatever the NAT remembers."""
        router = self.owners.get(endpoint.address)
        if router in self.behaviours and self.behaviours[router].exposed is Exposed.EACH_HOST:
            host = self.exposed(router, endpoint.address)
            return None if host is None else Endpoint(host, endpoint.port)
        return self._forwarded.get(endpoint)

    @cached_property
    def _exposed(self) -> dict[tuple[str, IPv4Address], IPv4Address]:
        """By router and external address."""
        found = {}
        for router in self.topology.routers if self.behaviours else ():
            behaviour, inside = self.behaviours[router.name], self.topology.attached(router.lan)
            for number, external in enumerate(self.addresses_of(router.name, router.interfaces[0])):
                host = behaviour.exposes(number)
                if host is not None and host < len(inside):
                    found[router.name, external] = self.address_on(inside[host].name, router.lan)
        return found

    @cached_property
    def _alone(self) -> dict[str, str]:
        """The host behind a router, of those with one."""
        behind: dict[str, list[str]] = {}
        for host in self.topology.hosts:
            for router in self.topology.around(host.name)[1:]:
                behind.setdefault(router, []).append(host.name)
        return {router: hosts[0] for router, hosts in behind.items() if len(hosts) == 1}
