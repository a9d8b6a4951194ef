"""Does to a lab what `testbed.model.network_fault` names."""

import dataclasses
import os
import select
import time
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Interface

from testbed.errors import BackendError
from testbed.lab import kernel
from testbed.lab.links.netem import NetemLinks, expressible
from testbed.lab.loading import LOADERS
from testbed.lab.namespaces import NamespaceLab
from testbed.lab.netfilter import CONNTRACK, ask
from testbed.model.behaviour import Allocation, Filtering, Protocol, Transport
from testbed.model.network_fault import (
    Fault,
    LinkChange,
    LinkDown,
    LinkUp,
    LossBurst,
    LossOver,
    NatReboot,
    Rebinding,
    Roaming,
    Sleep,
    Switch,
    Wake,
    WanAddressChange,
)
from testbed.model.plan import AddBridge, AddLink, AddRoute, Engine
from testbed.model.profile import Profile
from testbed.model.topology import TUNNEL_PORT, Interface, Link
from testbed.nat.rules import RouterContext, render

_DELETE = CONNTRACK | 2  # IPCTNL_MSG_CT_DELETE; of no flow in particular: of all
_FORWARDING = "net.ipv4.ip_forward"
_DEADLINE = 5.0  # seconds for one change inside a node
_WIRELESS = "wifi0"  # the interface that a host has where it roams to

Wait = Callable[[float], None]


def apply(lab: NamespaceLab, fault: Fault, profiles: dict[str, Profile], wait: Wait) -> None:
    """Do it; BackendError names the router and what it refused.

    ``profiles``: of each router.  ``wait`` lets seconds go by, for what takes time.  ValueError for
    what others have to do: the application falls silent, and the relay's program is the stacks'.
    """
    match fault:
        case NatReboot(router, down):
            external = lab.plan.addresses_of(router, _in_use(lab, router))[0]
            _reload(lab, router, profiles[router], external, wait, down)
        case WanAddressChange(router):
            _readdress(lab, router, profiles[router])
        case Rebinding(router):
            _renumber(lab, router, profiles[router])
        case Switch(node, network):
            _switch(lab, node, network, profiles)
        case Roaming(host, network) if lab.plan.topology.on(host, network):
            _leave(lab, host, network)
        case Roaming(host, network):
            _roam(lab, host, network)
        case _:
            _stir(lab, fault)


def _stir(lab: NamespaceLab, fault: Fault) -> None:
    """What happens to wires, and to the hosts behind them."""
    match fault:
        case LinkDown(node):
            lab.links.down(_wire(lab, node))
        case LinkUp(node):
            lab.links.up(_wire(lab, node))
        case LinkChange(node, _, link) | LossBurst(node, _, link) | LossOver(node, link):
            _change(lab, node, link)
        case Sleep(host):
            for name in _wires(lab, host):
                lab.links.down(name)
            for process in lab.processes(host):
                process.pause()
        case Wake(host):
            for process in lab.processes(host):
                process.resume()
            for name in _wires(lab, host):
                lab.links.up(name)
        case _:
            raise ValueError(f"it is not done to the network: {fault}")


def _wire(lab: NamespaceLab, node: str) -> str:
    """The name of the node's first wire, a router's to the network outside."""
    return _wires(lab, node)[0]


def _wires(lab: NamespaceLab, node: str) -> list[str]:
    """The names of all its wires, the first interface's first."""
    links = [x for x in lab.plan.of(AddLink) if x.a.node == node and x.tunnel is None]
    return [link.name for link in sorted(links, key=lambda link: link.second)]


def _change(lab: NamespaceLab, node: str, link: Link) -> None:
    if isinstance(lab.links, NetemLinks) and not (expressible(link.up) and expressible(link.down)):
        raise BackendError("netem cannot make its wire lose in bursts, or swallow", node=node)
    lab.links.set(_wire(lab, node), a_to_b=link.up, b_to_a=link.down)


def _switch(lab: NamespaceLab, node: str, network: str, profiles: Mapping[str, Profile]) -> None:
    interface = lab.plan.topology.interface(node, network).name
    if node in profiles:
        switch_uplink(lab, node, interface, profiles[node])
    else:
        prefer(lab, node, interface)


def _leave(lab: NamespaceLab, host: str, network: str) -> None:
    """All but its interface on ``network``, whose routes go with them."""
    others = [one.name for one in lab.plan.topology.host(host).interfaces if one.network != network]
    downs = [f"link set dev {name} down" for name in others]
    interface = lab.plan.topology.interface(host, network).name
    _ip(lab, host, *downs, *(f"address flush dev {name}" for name in others),
        _default(lab, host, interface))  # fmt: skip


def prefer(lab: NamespaceLab, node: str, interface: str) -> None:
    """Let the default route of ``node`` lead by another one of its interfaces.

    `Topology.switched` is the same in the model.
    """
    _ip(lab, node, _default(lab, node, interface))


def switch_uplink(lab: NamespaceLab, router: str, uplink: str, profile: Profile) -> None:
    """Let the router use another uplink: its NAT maps to that one's address, and begins anew."""
    _forward(lab, router, on=False)
    prefer(lab, router, uplink)
    external = lab.plan.addresses_of(router, _in_use(lab, router))[0]
    _reload(lab, router, profile, external, lambda _: None)


def _in_use(lab: NamespaceLab, router: str) -> Interface:
    """The uplink that the router's default route leads by."""
    defaults = (r for r in lab.routes(router) if not (r.destination.prefixlen or r.metric))
    gateways = {route.gateway for route in defaults}
    names = {s.ifname for s in lab.plan.of(AddRoute) if s.node == router and s.gateway in gateways}
    return next(one for one in lab.plan.topology.node(router).interfaces if one.name in names)


def _default(lab: NamespaceLab, node: str, interface: str) -> str:
    """The words for `ip` of the default route by an interface."""
    routes = (r for r in lab.plan.of(AddRoute) if (r.node, r.ifname) == (node, interface))
    gateway = next(r.gateway for r in routes if not r.destination.prefixlen)
    return f"route replace default via {gateway} dev {interface}"


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
    external: IPv4Address,
    wait: Wait,
    down: float = 0.0,
) -> None:
    """Load the rules anew, without any mapping, and with other ports where they are random.

    Nothing is forwarded meanwhile: a packet between the two would bring a mapping back.
    """
    rules = render(_drawn_anew(profile), _context(lab, router, external))
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


def _context(lab: NamespaceLab, router: str, external: IPv4Address) -> RouterContext:
    plan, uplink = lab.plan, _in_use(lab, router)
    inside = _inside(lab, router)
    lan = next(r.lan for r in plan.topology.routers if r.name == router)
    hosts = tuple(plan.address_on(node.name, lan) for node in plan.topology.attached(lan))
    addresses = (external, *plan.addresses_of(router, uplink)[1:])
    ends = any(link.tunnel and link.b.node == router for link in plan.of(AddLink))
    return RouterContext(
        uplink.name,
        "lan",
        addresses,
        inside.network,
        hosts,
        plan.seeds[router],
        (TUNNEL_PORT,) if ends else (),
    )


def _inside(lab: NamespaceLab, router: str) -> IPv4Interface:
    for bridge in lab.plan.of(AddBridge):
        if bridge.node == router:
            return bridge.addresses[0]
    ends = (link.b for link in lab.plan.of(AddLink))
    return next(e.addresses[0] for e in ends if e.node == router and e.ifname == "lan")


def _readdress(lab: NamespaceLab, router: str, profile: Profile) -> None:
    """The next address of its subnet.  The routes go with the old one, and come back."""
    link = next(link for link in lab.plan.of(AddLink) if link.a.node == router)
    old, gateway = link.a.addresses[0], link.b.addresses[0].ip
    new = IPv4Interface((old.ip + 1, old.network.prefixlen))
    _forward(lab, router, on=False)
    _ip(
        lab, router, f"address del {old} dev wan", f"address add {new} dev wan",
        f"route replace default via {gateway} dev wan",
    )  # fmt: skip
    _reload(lab, router, profile, new.ip, lambda _: None)


def _renumber(lab: NamespaceLab, router: str, profile: Profile) -> None:
    """Forget what the rules' own tables and conntrack hold; the rules stay."""
    if profile.engine is not Engine.NFTABLES:
        raise BackendError("only a NAT of nftables can be renumbered", node=router)
    _forward(lab, router, on=False)
    commands = []
    for protocol in Protocol:
        commands += [f"flush map ip nat_testbed {kind}_{protocol}" for kind in ("mine", "owned")]
        commands.append(f"flush set ip nat_testbed owners_{protocol}")
        if profile.behaviour.transport(protocol).filtering is Filtering.ADDRESS_DEPENDENT:
            commands.append(f"flush set ip nat_testbed contacted_{protocol}")
    commands.append("flush set ip nat_testbed settled_tcp")
    lab.run(router, LOADERS[Engine.NFTABLES], input="\n".join([*commands, ""]).encode())
    ask(lab, router, _DELETE)
    _forward(lab, router, on=True)


def _roam(lab: NamespaceLab, host: str, network: str) -> None:
    """Take over the interface and the address of the host that waits in ``network``."""
    dock = next(h.name for h in lab.plan.topology.hosts if h.network == network and h.name != host)
    link = next(link for link in lab.plan.of(AddLink) if link.a.node == dock)
    address, gateway = link.a.addresses[0], link.b.addresses[0].ip
    inside = lab.spawn(host, _stay)  # a process by which `ip` finds the host's namespace
    try:
        if not select.select([inside.stdout], [], [], _DEADLINE)[0]:
            raise BackendError(f"waited {_DEADLINE:g} s for a process in it", node=host)
        _ip(lab, dock, f"link set dev eth0 netns {inside.pid} name {_WIRELESS}")
    finally:
        inside.kill()
    _ip(
        lab, host, "link set dev eth0 down", "address flush dev eth0",
        f"address add {address} dev {_WIRELESS}", f"link set dev {_WIRELESS} up",
        f"route replace default via {gateway} dev {_WIRELESS}",
    )  # fmt: skip


def _stay() -> int:
    """Say that we are there, and stay until we are ended."""
    os.write(1, b"here\n")
    os.read(0, 1)
    return 0


def _ip(lab: NamespaceLab, node: str, *commands: str) -> None:
    lab.run(node, ("ip", "-batch", "-"), input="\n".join([*commands, ""]).encode())
