"""Does to a lab what `testbed.model.network_fault` names."""

from testbed.lab.namespaces import NamespaceLab
from testbed.lab.network_faults.moves import leave, prefer, roam
from testbed.lab.network_faults.nats import readdress, reboot, renumber, switch_uplink
from testbed.lab.network_faults.programs import Wait, lose_leases, restart_names
from testbed.lab.network_faults.wires import stir
from testbed.model.network_fault import (
    DnsRestart,
    Fault,
    LeaseLost,
    NatReboot,
    Rebinding,
    Roaming,
    Switch,
    WanAddressChange,
)
from testbed.model.plan import AddLink, Plan
from testbed.model.profile import Profile

__all__ = ["apply", "prefer", "switch_uplink", "touched"]


def apply(lab: NamespaceLab, fault: Fault, profiles: dict[str, Profile], wait: Wait) -> None:
    """Do it; BackendError names the router and what it refused.

    ``profiles``: of each router.  ``wait`` lets seconds go by, for what takes time.  ValueError for
    what others have to do: the application falls silent, and the relay's program is the stacks'.
    """
    match fault:
        case NatReboot(router, down):
            reboot(lab, router, profiles[router], wait, down)
        case WanAddressChange(router):
            readdress(lab, router, profiles[router])
        case Rebinding(router):
            renumber(lab, router, profiles[router])
        case Switch(node, to) if node in profiles:
            uplink = lab.plan.topology.interface(node, to).name
            switch_uplink(lab, node, uplink, profiles[node])
        case Switch(node, to):
            prefer(lab, node, lab.plan.topology.interface(node, to).name)
        case Roaming(host, network) if lab.plan.topology.on(host, network):
            leave(lab, host, network)
        case Roaming(host, network):
            roam(lab, host, network)
        case LeaseLost(router):
            lose_leases(lab, router)
        case DnsRestart(down):
            restart_names(lab, wait, down)
        case _:
            stir(lab, fault)


def touched(plan: Plan, fault: Fault) -> set[str]:
    """The nodes that ``fault`` changes: the one that it names, and the far ends of its wires."""
    named = {value for key, value in vars(fault).items() if key in ("router", "node", "host")}
    links = [link for link in plan.of(AddLink) if link.a.node in named]
    return named | {link.b.node for link in links}
