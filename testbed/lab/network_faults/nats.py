"""What happens to NATs: they forget, and map to another address or to other ports."""

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Interface
from itertools import count

from testbed.errors import BackendError
from testbed.lab import kernel
from testbed.lab.loading import LOADERS
from testbed.lab.namespaces import NamespaceLab
from testbed.lab.netfilter import CONNTRACK, ask
from testbed.lab.network_faults.moves import default_route, ip, prefer
from testbed.lab.network_faults.programs import Wait
from testbed.model.behaviour import Allocation, Filtering, Protocol, Transport
from testbed.model.plan import AddBridge, AddLink, AddRoute, Engine
from testbed.model.profile import Profile
from testbed.model.topology import Interface
from testbed.nat.pools import Plane, planes
from testbed.nat.rules import RouterContext, remote_apart, render

_DELETE = CONNTRACK | 2  # IPCTNL_MSG_CT_DELETE; of no flow in particular: of all
_FORWARDING = "net.ipv4.ip_forward"
_DEADLINE = 5.0  # seconds for one change inside a node


def switch_uplink(lab: NamespaceLab, router: str, uplink: str, profile: Profile) -> None:
    """Let the router use another uplink: its NAT maps to that one's address, and begins anew."""
    _forward(lab, router, on=False)
    prefer(lab, router, uplink)
    _reload(lab, router, profile, lambda _: None)


def reboot(lab: NamespaceLab, router: str, profile: Profile, wait: Wait, down: float) -> None:
    """Forward nothing for ``down`` seconds, and then know no flow of before."""
    _reload(lab, router, profile, wait, down)


def _in_use(lab: NamespaceLab, router: str) -> Interface:
    """The uplink that the router's default route leads by."""
    defaults = (r for r in lab.routes(router) if not (r.destination.prefixlen or r.metric))
    gateways = {route.gateway for route in defaults}
    names = {s.ifname for s in lab.plan.of(AddRoute) if s.node == router and s.gateway in gateways}
    return next(one for one in lab.plan.topology.node(router).interfaces if one.name in names)


def _forward(lab: NamespaceLab, router: str, *, on: bool) -> None:
    def switch() -> int:
        kernel.write_sysctl(_FORWARDING, str(int(on)))
        return 0

    process = lab.spawn(router, switch)
    try:
        failed = process.wait(_DEADLINE)
    except TimeoutError as error:
        raise BackendError(f"waited for its forwarding: {error}", node=router) from error
    finally:
        process.kill()
    if failed:
        raise BackendError("cannot switch its forwarding", node=router)


def _reload(
    lab: NamespaceLab,
    router: str,
    profile: Profile,
    wait: Wait,
    down: float = 0.0,
) -> None:
    """Load the rules anew, without any mapping, and with other ports where they are random.

    Nothing is forwarded meanwhile: a packet between the two would bring a mapping back.
    """
    rules = render(_drawn_anew(profile), _context(lab, router))
    _forward(lab, router, on=False)
    until = time.monotonic() + down
    for engine, text in rules.texts:
        lab.run(router, LOADERS[engine], input=text.encode())
    ask(lab, router, _DELETE)
    wait(max(0.0, until - time.monotonic()))
    _forward(lab, router, on=True)


def _drawn_anew(profile: Profile) -> Profile:
    """A counter begins where it began before, and the kernel's own NAT takes no seed."""

    def other(transport: Transport) -> Transport:
        if transport.allocation is Allocation.SEQUENTIAL:
            return transport
        return dataclasses.replace(transport, seed=transport.seed + 1)

    behaviour = profile.behaviour
    if profile.engine is not Engine.NFTABLES:
        return profile
    drawn = dataclasses.replace(behaviour, udp=other(behaviour.udp), tcp=other(behaviour.tcp))
    return dataclasses.replace(profile, behaviour=drawn)


def _context(lab: NamespaceLab, router: str) -> RouterContext:
    plan, uplink = lab.plan, _in_use(lab, router)
    inside = _inside(lab, router)
    lan = next(r.lan for r in plan.topology.routers if r.name == router)
    hosts = tuple(plan.address_on(node.name, lan) for node in plan.topology.attached(lan))
    addresses = tuple(one.ip for one in _addresses(lab, router, uplink.name))
    return RouterContext(
        uplink.name,
        "lan",
        addresses,
        inside.network,
        hosts,
        plan.seeds[router],
        plan.topology.tunnel_ports(lan),
    )


def _inside(lab: NamespaceLab, router: str) -> IPv4Interface:
    for bridge in lab.plan.of(AddBridge):
        if bridge.node == router:
            return bridge.addresses[0]
    ends = (link.b for link in lab.plan.of(AddLink))
    return next(e.addresses[0] for e in ends if e.node == router and e.ifname == "lan")


def readdress(lab: NamespaceLab, router: str, profile: Profile) -> None:
    """Another address of its subnet.  The routes go with the old one, and come back."""
    uplink = _in_use(lab, router)
    old, *more = _addresses(lab, router, uplink.name)
    new = IPv4Interface((_unused(lab, [old, *more]), old.network.prefixlen))
    _forward(lab, router, on=False)
    ip(
        lab,
        router,
        f"address flush dev {uplink.name}",
        *(f"address add {one} dev {uplink.name}" for one in (new, *more)),
        default_route(lab, router, uplink.name),
    )
    _reload(lab, router, profile, lambda _: None)


def _addresses(lab: NamespaceLab, router: str, ifname: str) -> list[IPv4Interface]:
    """Those that the interface has now, in their order."""
    said = json.loads(lab.run(router, ("ip", "-json", "-4", "address", "show", "dev", ifname)))
    return [IPv4Interface(f"{one['local']}/{one['prefixlen']}") for one in said[0]["addr_info"]]


def _unused(lab: NamespaceLab, now: Sequence[IPv4Interface]) -> IPv4Address:
    """The next one that nobody has, or had."""
    taken = {*lab.plan.owners, *(one.ip for one in now)}
    return next(one for one in _next_addresses(max(one.ip for one in now)) if one not in taken)


def _next_addresses(address: IPv4Address) -> Iterator[IPv4Address]:
    return (address + number for number in count(1))


def renumber(lab: NamespaceLab, router: str, profile: Profile) -> None:
    """Forget what the rules' own tables and conntrack hold; the rules stay."""
    if profile.engine is not Engine.NFTABLES:
        raise BackendError("only a NAT of nftables can be renumbered", node=router)
    _forward(lab, router, on=False)
    used = planes(profile.behaviour, _context(lab, router).external)
    commands = [line for plane in used for line in _flushes(profile, plane)]
    lab.run(router, LOADERS[Engine.NFTABLES], input="\n".join([*commands, ""]).encode())
    ask(lab, router, _DELETE)
    _forward(lab, router, on=True)


def _flushes(profile: Profile, plane: Plane) -> Iterator[str]:
    for protocol in Protocol:
        name = plane.name(protocol)
        yield from (f"flush map ip nat_testbed {kind}_{name}" for kind in ("mine", "owned"))
        yield f"flush set ip nat_testbed owners_{name}"
        if profile.behaviour.transport(protocol).filtering is Filtering.ADDRESS_DEPENDENT:
            yield f"flush set ip nat_testbed contacted_{name}"
        if plane.number == 0:
            yield f"flush set ip nat_testbed fresh_{protocol}"
            if remote_apart(profile.behaviour.transport(protocol)):
                yield f"flush set ip nat_testbed known_{protocol}"
    yield f"flush set ip nat_testbed settled_{plane.name(Protocol.TCP)}"
