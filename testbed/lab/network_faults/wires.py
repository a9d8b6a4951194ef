"""What happens to wires, and to the hosts behind them."""

from testbed.errors import BackendError
from testbed.lab.links.netem import NetemLinks, expressible
from testbed.lab.namespaces import NamespaceLab
from testbed.model.network_fault import (
    Fault,
    LinkChange,
    LinkDown,
    LinkUp,
    LossBurst,
    LossOver,
    Sleep,
    Wake,
)
from testbed.model.plan import AddLink
from testbed.model.topology import Link


def stir(lab: NamespaceLab, fault: Fault) -> None:
    """Do what ``fault`` does to wires; ValueError if it is none of those."""
    match fault:
        case LinkDown(node, interface):
            lab.links.down(_wire(lab, node, interface))
        case LinkUp(node, interface):
            lab.links.up(_wire(lab, node, interface))
        case (
            LinkChange(node, _, link, interface)
            | LossBurst(node, _, link, interface)
            | LossOver(node, link, interface)
        ):
            _change(lab, node, interface, link)
        case Sleep(host):
            for name in _wires(lab, host).values():
                lab.links.down(name)
            for process in lab.processes(host):
                process.pause()
        case Wake(host):
            for process in lab.processes(host):
                process.resume()
            for name in _wires(lab, host).values():
                lab.links.up(name)
        case _:
            raise ValueError(f"it is not done to the network: {fault}")


def _wire(lab: NamespaceLab, node: str, interface: str) -> str:
    """The name of the wire at the node's ``interface``; at its first, if that is empty."""
    return _wires(lab, node)[interface or lab.plan.topology.wires_of(node)[0].name]


def _wires(lab: NamespaceLab, node: str) -> dict[str, str]:
    """The names of all its wires, by interface."""
    links = (link for link in lab.plan.of(AddLink) if link.a.node == node and link.tunnel is None)
    return {link.a.ifname: link.name for link in links}


def _change(lab: NamespaceLab, node: str, interface: str, link: Link) -> None:
    if isinstance(lab.links, NetemLinks) and not (expressible(link.up) and expressible(link.down)):
        raise BackendError("netem cannot make its wire lose in bursts, or swallow", node=node)
    lab.links.set(_wire(lab, node, interface), a_to_b=link.up, b_to_a=link.down)
