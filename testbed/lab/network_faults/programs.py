"""What happens to the programs that a lab provides: gateways, and who answers names."""

from collections.abc import Callable

from testbed.errors import BackendError
from testbed.lab.namespaces import NamespaceLab

Wait = Callable[[float], None]


def lose_leases(lab: NamespaceLab, router: str) -> None:
    """What the gateway has mapped is gone, and its program does not notice."""
    if router not in lab.services:
        raise BackendError("it has no gateway that maps ports", node=router)
    lab.services[router].forget()


def restart_names(lab: NamespaceLab, wait: Wait, down: float) -> None:
    """End the DNS server, and let it begin again after ``down`` seconds."""
    if lab.names is None:
        raise BackendError("the lab has no DNS server")
    lab.names.stop()
    wait(down)
    lab.names.start()
