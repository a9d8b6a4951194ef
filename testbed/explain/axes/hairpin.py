"""Hairpinning (RFC 4787 section 6): from inside to a mapping of the same NAT."""

from testbed.explain.axes.view import Shown, View
from testbed.model.behaviour import Hairpin
from testbed.model.explanation import Journey


def check(view: View) -> Shown:
    """Is there one as declared, with the source that is declared?"""
    declared = view.behaviour.hairpin
    for crossing in view.crossings:
        if not crossing.hairpin:
            continue
        words = f"{view.router} took {crossing.internal}'s packet to {crossing.remote} back in"
        if declared is Hairpin.NONE:
            yield f"{words}, and should not hairpin", crossing.packets
            continue
        outside = crossing.packet.source.address in view.addresses
        if outside is not (declared is Hairpin.EXTERNAL_SOURCE):
            should = "external" if declared is Hairpin.EXTERNAL_SOURCE else "internal"
            yield (
                f"{words} as from {crossing.packet.source}, and should by the sender's {should} "
                "endpoint",
                crossing.packets,
            )
    if declared is Hairpin.NONE:
        return
    for journey in view.refused:
        if _should_pass(view, journey):
            packet = journey.end.inward
            assert packet is not None  # by the choice of `View.refused`
            yield (
                f"{view.router} did not take {packet.source}'s packet to {packet.destination} "
                "back in, and should hairpin",
                (packet,),
            )


def _should_pass(view: View, journey: Journey) -> bool:
    """It went to an endpoint that somebody inside has."""
    packet = journey.end.inward
    if packet is None or packet.destination.address not in view.addresses:
        return False
    return any(
        flow.external == packet.destination
        and flow.time_ns < packet.time_ns
        and not view.ended(flow, packet.time_ns)
        for flow in view.begun
    )
