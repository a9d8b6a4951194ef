"""Hairpinning (RFC 4787 section 6): from inside to a mapping of the same NAT."""

from dataclasses import replace

from testbed.explain.axes.view import SETTLED_NS, Shown, View
from testbed.model.behaviour import Hairpin
from testbed.model.journey import Journey
from testbed.model.packet import Packet
from testbed.model.statement.profiles import HairpinDiffers, NoHairpin


def check(view: View) -> Shown:
    """Is there one as declared, with the source that is declared?"""
    declared = view.behaviour.hairpin
    for crossing in view.crossings:
        if not crossing.hairpin:
            continue
        taken = HairpinDiffers(view.router, crossing.internal, crossing.remote, declared)
        if declared is Hairpin.NONE:
            yield taken, crossing.packets
            continue
        outside = crossing.packet.source.address in view.addresses
        if outside is not (declared is Hairpin.EXTERNAL_SOURCE):
            yield replace(taken, seen_as=crossing.packet.source), crossing.packets
    if declared is Hairpin.NONE:
        return
    for journey in view.refused:
        if _should_pass(view, journey):
            packet = journey.end.inward
            assert packet is not None  # by the choice of `View.refused`
            yield NoHairpin(view.router, packet.source, packet.destination), (packet,)


def _should_pass(view: View, journey: Journey) -> bool:
    """It went to an endpoint that somebody inside has."""
    packet = journey.end.inward
    if packet is None or packet.destination.address not in view.addresses:
        return False
    return not _met(view, packet) and any(
        flow.external == packet.destination
        and flow.time_ns < packet.time_ns
        and not view.ended(flow, packet.time_ns)
        for flow in view.begun
    )


def _met(view: View, packet: Packet) -> bool:
    """Whether it met one that was hairpinned the other way at the same moment.

    Each begins a flow of which the other's packet is the answer.  Where two processors take them
    up at once, Linux confirms one of the two flows and drops the packet of the other
    (nf_conntrack_confirm), before or after any rule and uncounted.
    """
    return any(
        crossing.hairpin
        and (crossing.packet.source, crossing.packet.destination)
        == (packet.destination, packet.source)
        and abs(crossing.time_ns - packet.time_ns) < SETTLED_NS
        for crossing in view.crossings
    )
