"""Where a router of a compose project is measured from, as the prober's bench has it.

The hosts of its LAN take part: static forwards lead to them, and quotas are theirs.  The
others are guests, containers of ours that join the LAN, and the network outside, for as
long as it takes.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from testbed.certify.prober.bench import LAN, ROUTER, SERVER, STRANGER
from testbed.compose.project import engines
from testbed.compose.running import GUESTS_OWN, Container, ProjectLab
from testbed.errors import BackendError
from testbed.lab.containers import images
from testbed.lab.containers.crew import Member
from testbed.lab.netfilter import CONNTRACK, ask
from testbed.model.behaviour import Behaviour
from testbed.model.frozen import FrozenValue
from testbed.model.plan import AddBridge, AddLink, AddNode, End, NodeKind, Plan
from testbed.model.presets import preset
from testbed.model.profile import Profile
from testbed.model.topology import Host, Router

DELETE_ALL = CONNTRACK | 2  # IPCTNL_MSG_CT_DELETE, of no flow in particular
_ANYWHERE = "0.0.0.0/0"


class Guest(FrozenValue):
    """A container of ours on a network of the project's."""

    name: str  # in the bench
    network: str  # the engine's name of it
    addresses: tuple[IPv4Interface, ...]


class Bench(FrozenValue):
    """Two hosts inside and two outside of one router.

    ``hosts``: of these the project's own, by their names in the bench.
    """

    router: Router
    hosts: Mapping[str, str]
    guests: tuple[Guest, ...]
    outside: tuple[IPv4Interface, ...]  # the router's addresses
    inside: IPv4Interface
    mac: str  # of the router's outer interface
    plan: Plan

    @property
    def name(self) -> str:
        """As certificates bear it."""
        return f"{self.router.name}: {self.router.profile}"

    @property
    def metered(self) -> bool:
        """Is the host whose mappings are counted one that a quota knows?"""
        return LAN[1] in self.hosts

    @property
    def pooled(self) -> bool:
        """Are there several external addresses, and two hosts that the rules pair with them?"""
        return len(self.outside) > 1 and len(self.hosts) == len(LAN)

    def members(self) -> Iterator[Member]:
        for guest in self.guests:
            place = self.places()[guest.name]
            first = guest.addresses[0].ip
            yield Member(place, images.BASE, False, {}, guest.network, first)

    def places(self) -> dict[str, str]:
        """The member of the crew that each node of the bench is."""
        guests = {guest.name: f"{self.router.name}.{guest.name}" for guest in self.guests}
        return {ROUTER: self.router.name, **self.hosts, **guests}

    def furnish(self, lab: ProjectLab, profile: Profile) -> None:
        """Give the guests what the engine leaves out."""
        beyond = str(self.inside.network), str(self.outside[0].ip)
        for guest in self.guests:
            if guest.name in LAN:
                routes = {_ANYWHERE: str(self.inside.ip)}
            else:
                routes = {} if profile.behaviour.translates else dict([beyond])
            lab.give(guest.name, guest.addresses[1:], routes)

    @contextmanager
    def afresh(self, lab: ProjectLab) -> Iterator[ProjectLab]:
        """The same lab, whose router begins without any mapping."""
        _forget(lab)
        yield lab


def benches(plan: Plan, found: Mapping[str, Container]) -> list[Bench]:
    """One for each router; BackendError where its networks have no room for guests.

    They can be used side by side: no two guests have one address.
    """
    taken = set(plan.owners)
    return [
        _bench(plan, router, plan.behaviours[router.name], found, taken)
        for router in plan.topology.routers
    ]


def _bench(
    plan: Plan,
    router: Router,
    behaviour: Behaviour,
    found: Mapping[str, Container],
    taken: set[IPv4Address],
) -> Bench:
    outside, inside = _interface(plan, router.name, "wan"), _interface(plan, router.name, "lan")
    own = [n.name for n in plan.topology.attached(router.lan) if isinstance(n, Host)]
    # The prober counts the mappings of the second; forwards lead to the first.
    counted = behaviour.quota is not None and not behaviour.forwards
    hosts = dict(zip(LAN if len(own) > 1 or not counted else LAN[::-1], own, strict=False))
    plug = found[router.name].plug(outside[0].ip)
    free = _free(outside[0].network, taken, router.name)
    guests = [
        Guest(SERVER, plug.network, (next(free), next(free))),
        Guest(STRANGER, plug.network, (next(free),)),
    ]
    free, lan = _free(inside[0].network, taken, router.name), found[router.name].plug(inside[0].ip)
    guests += [Guest(name, lan.network, (next(free),)) for name in LAN if name not in hosts]
    addresses = {guest.name: tuple(one.ip for one in guest.addresses) for guest in guests}
    addresses |= {name: plan.addresses[host] for name, host in hosts.items()}
    addresses[ROUTER] = tuple(one.ip for one in outside)
    made = _plan(router, addresses, outside, plug.mac, inside[0].ip)
    return Bench(router, hosts, tuple(guests), outside, inside[0], plug.mac, made)


def _forget(lab: ProjectLab) -> None:
    """Empty what the router's rules and its conntrack hold of flows; the rules stay."""
    commands = []
    for kind in ("set", "map"):
        listed = json.loads(lab.run(ROUTER, ["nft", "-j", "list", f"{kind}s"]))["nftables"]
        for one in (entry[kind] for entry in listed if kind in entry):
            if "dynamic" in one.get("flags", ()):
                commands.append(f"flush {kind} {one['family']} {one['table']} {one['name']}\n")
    lab.run(ROUTER, ["nft", "-f", "-"], input="".join(commands).encode())
    ask(lab, ROUTER, DELETE_ALL)


def _plan(
    router: Router,
    addresses: dict[str, tuple[IPv4Address, ...]],
    outside: tuple[IPv4Interface, ...],
    mac: str,
    inside: IPv4Address,
) -> Plan:
    """Of the bench: its nodes, and the wire that the stranger shares with the router."""
    nodes = [AddNode(ROUTER, NodeKind.ROUTER)]
    nodes += [AddNode(name, NodeKind.HOST) for name in (*LAN, SERVER, STRANGER)]
    wire = AddLink(End(ROUTER, "wan", mac, outside), End(STRANGER, GUESTS_OWN, ""))
    owners = {ip: node for node, ips in addresses.items() for ip in ips}
    return Plan(
        topology=preset("probe-bench", router.profile),
        number=0,
        steps=(*nodes, wire),
        addresses=addresses,
        internal={ROUTER: inside},
        owners=owners,
        vantages=(),
    )


def _interface(plan: Plan, node: str, ifname: str) -> tuple[IPv4Interface, ...]:
    ends = [end for link in plan.of(AddLink) for end in (link.a, link.b)]
    places: list[End | AddBridge] = [*ends, *plan.of(AddBridge)]
    for place in places:
        if (place.node, place.ifname) == (node, ifname):
            return place.addresses
    raise BackendError(f"the plan has no {ifname}", node=node)


def _free(network: IPv4Network, taken: set[IPv4Address], node: str) -> Iterator[IPv4Interface]:
    """Take addresses of a network that nobody has; BackendError when there are no more."""
    for ip in network.hosts():
        if ip not in taken and ip != engines(network):
            taken.add(ip)
            yield IPv4Interface((ip, network.prefixlen))
    raise BackendError(f"no room for guests in {network}", node=node)
