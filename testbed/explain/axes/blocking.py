"""What is let out at all: blocked protocols and ports, and nothing that is not blocked."""

from testbed.explain.axes.view import Shown, View
from testbed.model.refusal import Refusal

# Rules of the profile that refuse now and then.
_LIMITS = (Refusal.QUOTA, Refusal.EXHAUSTED, Refusal.COLLISION)


def check(view: View) -> Shown:
    """Did something get out that should not, or not that should?"""
    axes, name = view.axes, view.protocol.upper()
    for flow in view.begun:
        if axes.blocked:
            yield (
                f"{view.router} let {name} out to {flow.remote}, and should let none out",
                flow.packets,
            )
        elif axes.allowed_ports and flow.remote.port not in axes.allowed_ports:
            ports = ", ".join(map(str, axes.allowed_ports))
            yield (
                f"{view.router} let {name} out to {flow.remote}, and should only to ports {ports}",
                flow.packets,
            )
    if axes.blocked or view.scene.evidence.drops is None:
        return
    for journey in view.refused:
        packet = journey.end.inward
        assert packet is not None  # by the choice of `View.refused`
        if packet.destination.address in view.addresses:
            continue  # a hairpin
        refused = axes.allowed_ports and packet.destination.port not in axes.allowed_ports
        private = Refusal.UNROUTED in journey.end.rules
        limited = any(rule in journey.end.rules for rule in _LIMITS)
        if not (refused or private or limited):
            yield (
                f"{view.router} did not let {packet.source} out to {packet.destination}, "
                "and its profile has no reason for that",
                (packet,),
            )
