"""What is let out at all: blocked protocols and ports, and nothing that is not blocked."""

from testbed.explain.axes.view import Shown, View
from testbed.model.refusal import Refusal
from testbed.model.statement.profiles import LetOutThough, NotLetOut

# Rules of the profile that refuse now and then.
_LIMITS = (Refusal.QUOTA, Refusal.EXHAUSTED, Refusal.COLLISION)


def check(view: View) -> Shown:
    """Did something get out that should not, or not that should?"""
    axes = view.axes
    for flow in view.begun:
        if axes.blocked:
            yield LetOutThough(view.router, view.protocol, flow.remote), flow.packets
        elif axes.allowed_ports and flow.remote.port not in axes.allowed_ports:
            ports = tuple(axes.allowed_ports)
            yield LetOutThough(view.router, view.protocol, flow.remote, ports), flow.packets
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
            yield NotLetOut(view.router, packet.source, packet.destination), (packet,)
