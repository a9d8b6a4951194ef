"""Mapping (RFC 4787 section 4.1), port allocation (4.2), and the quota of mappings."""

from testbed.explain.axes.view import Shown, View
from testbed.explain.scene import Crossing
from testbed.model.behaviour import Allocation, Mapping
from testbed.model.packet import Endpoint
from testbed.model.statement import profiles


def check(view: View) -> Shown:
    """Does an internal endpoint keep its external one as declared?"""
    declared = view.axes.mapping
    if declared is Mapping.NONE:
        for flow in view.begun:
            if flow.internal != flow.external:
                yield profiles.Translated(_left(flow)), flow.packets
        return
    latest: dict[object, Crossing] = {}
    users: dict[Endpoint, tuple[object, Crossing]] = {}
    for flow in view.begun:
        key = _key(flow, declared)
        before = latest.get(key, flow)
        if before.external != flow.external and not _excused(view, before, flow):
            other = profiles.NotKept(_left(before), _left(flow), before.external)
            yield other, (*before.packets, *flow.packets)
        latest[key] = flow
        user, first = users.setdefault(flow.external, (key, flow))
        shared = user != key and first.internal == flow.internal
        if shared and not view.ended(first, flow.time_ns):
            yield profiles.NotAnother(_left(first), _left(flow)), (*first.packets, *flow.packets)


def _left(flow: Crossing) -> profiles.SentOut:
    return profiles.SentOut(flow.router, flow.internal, flow.remote, flow.external)


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
                yield profiles.PortOutside(_left(flow), view.axes.ports), flow.packets
            continue
        wanted = flow.preserved
        if kept or wanted.port in forwarded or view.held(wanted, flow.internal, flow.time_ns):
            continue
        if not view.taken(wanted, flow.remote, flow.time_ns):
            yield profiles.PortNotKept(_left(flow), flow.internal.port), flow.packets


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
            over = profiles.OverQuota(_left(flow), len(live), flow.internal.address, quota)
            yield over, flow.packets
