"""Is the lab what its plan says, no more and no less?

The isolation of a lab is proven by structure, before the first packet: a node
that has an interface, a route or a rule of routing beside the planned ones might
reach, or be reached by, what it must not.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from ipaddress import IPv4Network

from testbed.errors import BackendError
from testbed.model.address import Route, Rule
from testbed.model.fault import Difference, LabDiffers
from testbed.model.lab import Lab
from testbed.model.plan import AddBridge, AddLink, AddNode, AddRoute, AddRule, Blackhole, End, Plan
from testbed.words.faults import difference

_EVERYWHERE = IPv4Network("0.0.0.0/0")


def audit(lab: Lab) -> list[LabDiffers]:
    """Every difference between the plan and the kernel."""
    findings: list[LabDiffers] = []
    for step in lab.plan.of(AddNode):
        node = step.node
        planned, real = _interfaces(lab.plan, node), lab.interfaces(node)
        findings += _each(Difference.UNPLANNED_INTERFACE, node, sorted(real - planned))
        findings += _each(Difference.MISSING_INTERFACE, node, sorted(planned - real))
        wanted, found = _routes(lab.plan, node), lab.routes(node)
        unplanned = (route for route in found - wanted if not _needless(route, wanted))
        findings += _each(Difference.UNPLANNED_ROUTE, node, unplanned)
        findings += _each(Difference.MISSING_ROUTE, node, wanted - found)
        ruled = {_rule(s) for s in lab.plan.of(AddRule) if s.node == node}
        findings += _each(Difference.UNPLANNED_RULE, node, lab.rules(node) - ruled)
        findings += _each(Difference.MISSING_RULE, node, ruled - lab.rules(node))
    return findings


def _each(
    difference: Difference, node: str, found: Iterable[str] | Iterable[Route] | Iterable[Rule]
) -> Iterator[LabDiffers]:
    return (LabDiffers(difference, node, one) for one in found)


def require_closed(lab: Lab) -> None:
    """BackendError naming every difference between the plan and the kernel."""
    findings = audit(lab)
    if findings:
        raise BackendError(
            "the lab is not what was planned: " + "; ".join(map(difference, findings))
        )


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
    # An address alone is no network: the kernel has no route on the link for it.
    routes = {Route(a.network, None) for a in connected if a.network.prefixlen < 32}
    routes |= {
        Route(s.destination, s.gateway, metric=s.metric, table=s.table)
        for s in plan.of(AddRoute)
        if s.node == node
    }
    return routes | {Route(s.destination, None, True) for s in plan.of(Blackhole) if s.node == node}


def _rule(step: AddRule) -> Rule:
    return Rule(IPv4Network(step.source), step.table)


def _needless(route: Route, wanted: set[Route]) -> bool:
    """It leads where the planned default route leads its packets anyway.

    Entry points of some images set such routes, not knowing the default.
    """
    if route.gateway is None or replace(route, destination=_EVERYWHERE) not in wanted:
        return False
    others = (other.destination for other in wanted if other.destination != _EVERYWHERE)
    return not any(route.destination.overlaps(other) for other in others)
