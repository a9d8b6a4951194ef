"""Is the lab what its plan says, no more and no less?

The isolation of a lab is proven by structure, before the first packet: a node
that has an interface or a route beside the planned ones might reach, or be
reached by, what it must not.
"""

from ipaddress import IPv4Network

from testbed.backends.base import Lab, Route
from testbed.errors import BackendError
from testbed.plan.model import AddBridge, AddLink, AddNode, AddRoute, Blackhole, End, Plan

_EVERYWHERE = IPv4Network("0.0.0.0/0")


def audit(lab: Lab) -> list[str]:
    """Every difference between the plan and the kernel, as a sentence; empty if none."""
    findings = []
    for step in lab.plan.of(AddNode):
        node = step.node
        planned, real = _interfaces(lab.plan, node), lab.interfaces(node)
        findings += [f"{node} has an unplanned interface {name}" for name in sorted(real - planned)]
        findings += [f"{node} lacks its interface {name}" for name in sorted(planned - real)]
        wanted, found = _routes(lab.plan, node), lab.routes(node)
        unplanned = (route for route in found - wanted if not _needless(route, wanted))
        findings += [f"{node} has an unplanned route {_say(route)}" for route in unplanned]
        findings += [f"{node} lacks its route {_say(route)}" for route in wanted - found]
    return findings


def require_closed(lab: Lab) -> None:
    """BackendError naming every difference between the plan and the kernel."""
    findings = audit(lab)
    if findings:
        raise BackendError("the lab is not what was planned: " + "; ".join(findings))


def _ends(plan: Plan, node: str) -> list[End]:
    return [end for link in plan.of(AddLink) for end in (link.a, link.b) if end.node == node]


def _interfaces(plan: Plan, node: str) -> set[str]:
    bridges = {step.ifname for step in plan.of(AddBridge) if step.node == node}
    return {"lo"} | bridges | {end.ifname for end in _ends(plan, node)}


def _routes(plan: Plan, node: str) -> set[Route]:
    connected = [address for end in _ends(plan, node) for address in end.addresses]
    connected += [
        address for step in plan.of(AddBridge) if step.node == node for address in step.addresses
    ]
    routes = {Route(address.network, None) for address in connected}
    routes |= {Route(s.destination, s.gateway) for s in plan.of(AddRoute) if s.node == node}
    return routes | {Route(s.destination, None, True) for s in plan.of(Blackhole) if s.node == node}


def _needless(route: Route, wanted: set[Route]) -> bool:
    """It leads where the planned default route leads its packets anyway.

    Entry points of some images set such routes, not knowing the default.
    """
    if route.gateway is None or Route(_EVERYWHERE, route.gateway) not in wanted:
        return False
    others = (other.destination for other in wanted if other.destination != _EVERYWHERE)
    return not any(route.destination.overlaps(other) for other in others)


def _say(route: Route) -> str:
    if route.blackhole:
        return f"to {route.destination}, a blackhole"
    everywhere = route.destination == _EVERYWHERE
    target = "to everywhere" if everywhere else f"to {route.destination}"
    return f"{target} via {route.gateway}" if route.gateway else f"{target} on the link"
