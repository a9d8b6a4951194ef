"""Filtering (RFC 4787 section 5): who is let in to a mapping, and who is not."""

from ipaddress import IPv4Address

from testbed.explain.axes.view import SETTLED_NS, Knock, Shown, View
from testbed.explain.scene import Crossing
from testbed.model.behaviour import Filtering
from testbed.model.packet import Endpoint
from testbed.model.statement.profiles import LetInThough, ShutThough

_LEFT_NS = 100_000_000  # a capture may end before the far side of a packet was recorded


def check(view: View) -> Shown:
    """Who came in uninvited, and who was not let in that should have been."""
    for flow in view.flows:
        if not flow.outbound and not _may_enter(view, flow):
            unsent = _whom(view, flow)
            yield LetInThough(view.router, flow.remote, flow.external, unsent), flow.packets
    for knock in view.knocks:
        if opener := _opener(view, knock):
            ends = (knock.packet.source, knock.packet.destination)
            shut = ShutThough(view.router, *ends, opener.external, opener.remote)
            yield shut, (*opener.packets, knock.packet)


def _whom(view: View, flow: Crossing) -> Endpoint | IPv4Address:
    narrow = view.axes.filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT
    return flow.remote if narrow else flow.remote.address


def _may_enter(view: View, flow: Crossing) -> bool:
    """An uninvited flow: a forward, an exposed host, or a filter that is as wide."""
    if view.protocol != "udp" and not flow.packet.is_syn:
        return True  # the rest of a flow that began before the capture
    if _led_in(view, flow):
        return True
    if view.axes.filtering is Filtering.ENDPOINT_INDEPENDENT:
        return any(c.outbound and c.external == flow.external for c in view.crossings)
    for earlier in view.crossings:
        if earlier.time_ns >= flow.time_ns:
            return False
        if earlier.outbound and earlier.external == flow.external:
            if earlier.remote == flow.remote:
                return True
            same = earlier.remote.address == flow.remote.address
            if same and view.axes.filtering is Filtering.ADDRESS_DEPENDENT:
                return True
    return False


def _led_in(view: View, flow: Crossing) -> bool:
    """By a forward or a lease of its port, or to the host that everything else goes to."""
    if any(forward.external_port == flow.external.port for forward in view.behaviour.forwards):
        return True
    if view.scene.leased(view.router, flow.external.port, flow.time_ns):
        return True
    exposed = view.scene.plan.exposed(view.router, flow.external.address)
    return exposed is not None and flow.internal == Endpoint(exposed, flow.external.port)


def _opener(view: View, knock: Knock) -> Crossing | None:
    """What should have let ``knock`` in; None if nothing should."""
    packet = knock.packet
    if view.taken(packet.destination, packet.source, packet.time_ns):
        return None
    filtering = view.axes.filtering
    for earlier in view.begun:
        if earlier.time_ns + SETTLED_NS >= packet.time_ns:
            return None
        if earlier.external != packet.destination or not view.planned(earlier):
            continue
        wide = filtering is Filtering.ENDPOINT_INDEPENDENT or (
            filtering is Filtering.ADDRESS_DEPENDENT
            and earlier.remote.address == packet.source.address
        )
        if (wide or earlier.remote == packet.source) and not _over(view, earlier, knock):
            return earlier
    return None


def _over(view: View, opener: Crossing, knock: Knock) -> bool:
    """The hole may be closed again, or the capture end too soon to show the packet inside."""
    last = view.scene.journeys[-1].last.time_ns
    if last - knock.packet.time_ns < _LEFT_NS or view.ended(opener, knock.packet.time_ns):
        return True
    if view.protocol != "tcp":
        return False
    # Once the flow was answered, or refused, its state decides and no more the filter.
    return any(
        not c.outbound and (c.external, c.remote) == (opener.external, knock.packet.source)
        for c in view.crossings
        if opener.time_ns < c.time_ns < knock.packet.time_ns
    )
