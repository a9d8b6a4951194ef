"""A node goes by another of its interfaces, or a host is elsewhere."""

import os
import select
from ipaddress import IPv4Address

from testbed.errors import BackendError
from testbed.lab.namespaces import NamespaceLab
from testbed.model.network_fault import dock
from testbed.model.plan import AddLink, AddRoute

_DEADLINE = 5.0  # seconds for one change inside a node
_WIRELESS = "wifi"  # how the interfaces are called that a host has where it roams to


def leave(lab: NamespaceLab, host: str, network: str) -> None:
    """All but its interface on ``network``, whose routes go with them."""
    others = [one.name for one in lab.plan.topology.host(host).interfaces if one.network != network]
    downs = [f"link set dev {name} down" for name in others]
    interface = lab.plan.topology.interface(host, network).name
    ip(lab, host, *downs, *(f"address flush dev {name}" for name in others),
        default_route(lab, host, interface))  # fmt: skip


def prefer(lab: NamespaceLab, node: str, interface: str) -> None:
    """Let the default route of ``node`` lead by another one of its interfaces.

    `Topology.switched` is the same in the model.
    """
    ip(lab, node, default_route(lab, node, interface))


def default_route(lab: NamespaceLab, node: str, interface: str) -> str:
    """The words for `ip` of the default route by an interface."""
    return f"route replace default via {_gateway(lab, node, interface)} dev {interface}"


def _gateway(lab: NamespaceLab, node: str, interface: str) -> IPv4Address:
    """That of the node's default route by ``interface``: of a router, or of a bridge of it."""
    routes = (r for r in lab.plan.of(AddRoute) if (r.node, r.ifname) == (node, interface))
    return next(r.gateway for r in routes if r.gateway and not r.destination.prefixlen)


def roam(lab: NamespaceLab, host: str, network: str) -> None:
    """Take over the interface and the address of the place that waits in ``network``."""
    place = dock(network)
    link = next(link for link in lab.plan.of(AddLink) if link.a.node == place)
    before = sorted(lab.interfaces(host) - {"lo"})
    name = f"{_WIRELESS}{sum(one.startswith(_WIRELESS) for one in before)}"
    inside = lab.spawn(host, _stay)  # a process by which `ip` finds the host's namespace
    try:
        if not select.select([inside.stdout], [], [], _DEADLINE)[0]:
            raise BackendError(f"waited {_DEADLINE:g} s for a process in it", node=host)
        ip(lab, place, f"link set dev eth0 netns {inside.pid} name {name}")
    finally:
        inside.kill()
    ip(
        lab,
        host,
        *(line for one in before for line in _gone(one)),
        f"address add {link.a.addresses[0]} dev {name}",
        f"link set dev {name} up",
        f"route replace default via {_gateway(lab, place, link.a.ifname)} dev {name}",
    )


def _gone(interface: str) -> tuple[str, str]:
    return f"link set dev {interface} down", f"address flush dev {interface}"


def _stay() -> int:
    """Say that we are there, and stay until we are ended."""
    os.write(1, b"here\n")
    os.read(0, 1)
    return 0


def ip(lab: NamespaceLab, node: str, *commands: str) -> None:
    lab.run(node, ("ip", "-batch", "-"), input="\n".join([*commands, ""]).encode())
