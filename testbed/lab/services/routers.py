"""The gateways' programs of a lab, by router."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from testbed.lab.services.daemon import Daemon
from testbed.lab.services.miniupnpd import Miniupnpd, missing
from testbed.lab.services.own_gateway import OwnGateway
from testbed.model.behaviour import Gateway
from testbed.model.lab import Lab
from testbed.model.plan import ServePortMapping

_KINDS: dict[Gateway, type[Daemon]] = {
    Gateway.TESTBED: OwnGateway,
    Gateway.MINIUPNPD: Miniupnpd,
}


@contextmanager
def running(lab: Lab) -> Iterator[Mapping[str, Daemon]]:
    """The daemons that the lab's plan asks for, by router, while the context lasts.

    UnfitError if one is asked for and the program is not installed.
    """
    if error := missing(lab.plan):
        raise error
    with ExitStack() as stack:
        steps = lab.plan.of(ServePortMapping)
        daemons = {step.node: _KINDS[step.gateway](lab, step) for step in steps}
        for daemon in daemons.values():
            stack.callback(daemon.stop)
            daemon.start()
        yield daemons
