"""Is the lab what its plan says, no more and no less?

The isolation of a lab is proven by structure, before the first packet: a node
that has an interface, a route or a rule of routing beside the planned ones might
reach, or be reached by, what it must not.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Interface, IPv4Network

from testbed.errors import BackendError
from testbed.model.address import Route, Rule
from testbed.model.fault import Difference, LabDiffers
from testbed.model.lab import Lab
from testbed.model.plan import AddBridge, AddLink, AddNode, AddRoute, AddRule, Blackhole, Plan
from testbed.words.faults import difference

_EVERYWHERE = IPv4Network("0.0.0.0/0")


@dataclass
class _Wanted:
    """What one node is to have."""

    interfaces: set[str] = field(default_factory=lambda: {"lo"})
    routes: set[Route] = field(default_factory=set)
    rules: set[Rule] = field(default_factory=set)

    def connected(self, addresses: Iterable[IPv4Interface]) -> None:
        """An address alone is no network: the kernel has no route on the link for it."""
        networks = (address.network for address in addresses)
        self.routes |= {Route(one, None) for one in networks if one.prefixlen < 32}


def audit(lab: Lab) -> list[LabDiffers]:
    """Every difference between the plan and the kernel."""
    findings: list[LabDiffers] = []
    for node, planned in _wanted(lab.plan).items():
        real = lab.interfaces(node)
        findings += _each(Difference.UNPLANNED_INTERFACE, node, sorted(real - planned.interfaces))
        findings += _each(Difference.MISSING_INTERFACE, node, sorted(planned.interfaces - real))
        wanted, found = planned.routes, lab.routes(node)
        unplanned = (route for route in found - wanted if not _needless(route, wanted))
        findings += _each(Difference.UNPLANNED_ROUTE, node, unplanned)
        findings += _each(Difference.MISSING_ROUTE, node, wanted - found)
        ruled = lab.rules(node)
        findings += _each(Difference.UNPLANNED_RULE, node, ruled - planned.rules)
        findings += _each(Difference.MISSING_RULE, node, planned.rules - ruled)
    return findings


def _wanted(plan: Plan) -> dict[str, _Wanted]:
    """Of each node, read off the plan once: a core has as many wires as the lab has homes."""
    nodes = {step.node: _Wanted() for step in plan.of(AddNode)}
    for step in plan.steps:
        match step:
            case AddLink():
                for end in (step.a, step.b):
                    nodes[end.node].interfaces.add(end.ifname)
                    nodes[end.node].connected(end.addresses)
            case AddBridge():
                nodes[step.node].interfaces.add(step.ifname)
                nodes[step.node].connected(step.addresses)
            case AddRoute():
                nodes[step.node].routes.add(
                    Route(step.destination, step.gateway, metric=step.metric, table=step.table)
                )
            case Blackhole():
                nodes[step.node].routes.add(Route(step.destination, None, True))
            case AddRule():
                nodes[step.node].rules.add(Rule(IPv4Network(step.source), step.table))
            case _:
                pass
    return nodes


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


def _needless(route: Route, wanted: set[Route]) -> bool:
    """It leads where the planned default route leads its packets anyway.

    Entry points of some images set such routes, not knowing the default.
    """
    if route.gateway is None or replace(route, destination=_EVERYWHERE) not in wanted:
        return False
    others = (other.destination for other in wanted if other.destination != _EVERYWHERE)
    return not any(route.destination.overlaps(other) for other in others)
