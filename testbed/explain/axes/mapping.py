"""Mapping (RFC 4787 section 4.1), port allocation (4.2), and the quota of mappings."""

from testbed.explain.axes.view import Shown, View
from testbed.explain.scene import Crossing
from testbed.model.behaviour import Allocation, Mapping
from testbed.model.packet import Endpoint


def check(view: View) -> Shown:
    """Does an internal endpoint keep its external one as declared?"""
    declared = view.axes.mapping
    if declared is Mapping.NONE:
        for flow in view.begun:
            if flow.internal != flow.external:
                yield f"{_left(flow)}, though it should not translate", flow.packets
        return
    latest: dict[object, Crossing] = {}
    users: dict[Endpoint, tuple[object, Crossing]] = {}
    for flow in view.begun:
        key = _key(flow, declared)
        before = latest.get(key, flow)
        if before.external != flow.external and not _excused(view, before, flow):
            words = f"{_left(before)}, and {_left(flow)}: it should have kept {before.external}"
            yield words, (*before.packets, *flow.packets)
        latest[key] = flow
        user, first = users.setdefault(flow.external, (key, flow))
        shared = user != key and first.internal == flow.internal
        if shared and not view.ended(first, flow.time_ns):
            words = f"{_left(first)}, and {_left(flow)}: it should have been another one"
            yield words, (*first.packets, *flow.packets)


def _left(flow: Crossing) -> str:
    return f"{flow.router} sent {flow.internal} out to {flow.remote} as {flow.external}"


def _key(flow: Crossing, declared: Mapping) -> object:
    match declared:
        case Mapping.ENDPOINT_INDEPENDENT:
            return flow.internal
        case Mapping.ADDRESS_DEPENDENT:
            return flow.internal, flow.remote.address
        case _:
            return flow.internal, flow.remote


def _excused(view: View, before: Crossing, flow: Crossing) -> bool:
    """It may have another one: the old one ended, or is not to be had for this remote."""
    return (
        view.ended(before, flow.time_ns)
        or view.taken(before.external, flow.remote, flow.time_ns)
        or view.taken(flow.external, flow.remote, flow.time_ns)
        or (view.axes.overloading and view.held(before.external, flow.internal, flow.time_ns))
        or view.taken(flow.preserved, before.remote, before.time_ns)
    )


def check_ports(view: View) -> Shown:
    """Is the external port preserved, or from the declared range?"""
    if view.axes.mapping is Mapping.NONE:
        return
    seen: set[Endpoint] = set()
    forwarded = {forward.external_port for forward in view.behaviour.forwards}
    for flow in view.begun:
        if flow.internal in seen:
            continue
        seen.add(flow.internal)
        kept = flow.external.port == flow.internal.port
        if view.axes.allocation is not Allocation.PRESERVING:
            if flow.external.port not in view.axes.ports and not kept:
                ports = f"{view.axes.ports.first}-{view.axes.ports.last}"
                yield f"{_left(flow)}, which is not one of its ports {ports}", flow.packets
            continue
        wanted = flow.preserved
        if kept or wanted.port in forwarded or view.held(wanted, flow.internal, flow.time_ns):
            continue
        if not view.taken(wanted, flow.remote, flow.time_ns):
            yield f"{_left(flow)}, and should have kept port {flow.internal.port}", flow.packets


def check_quota(view: View) -> Shown:
    """Does a subscriber have no more mappings at once than it may?"""
    quota = view.behaviour.quota
    if quota is None:
        return
    mappings: dict[object, dict[object, Crossing]] = {}
    for flow in view.begun:
        mine = mappings.setdefault(flow.internal.address, {})
        mine.setdefault(_key(flow, view.axes.mapping), flow)
        live = [one for one in mine.values() if not view.ended(one, flow.time_ns)]
        if len(live) > quota:
            words = f"{_left(flow)}: that is mapping {len(live)} of {flow.internal.address}"
            yield f"{words}, and {quota} are allowed", flow.packets
