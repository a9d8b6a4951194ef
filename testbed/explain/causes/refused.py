"""Packets that their own side's NAT does not let out, by the rule that stopped them."""

from collections import Counter

from testbed.explain.causes import too_long
from testbed.explain.causes.finding import Finding, line, unknown
from testbed.explain.scene import Scene
from testbed.explain.sides import Side
from testbed.model.explanation import Cause
from testbed.model.journey import Journey
from testbed.model.refusal import BLOCKED, PORT_BLOCKED, Refusal
from testbed.model.statement.filters import (
    LetsNoOut,
    NotSeenOutside,
    StoppedByRule,
    StoppedByRules,
    StoppedMany,
)
from testbed.model.statement.lacks import ReasonFor, RulesTold

_CAUSES = {
    Refusal.UDP_BLOCKED: Cause.UDP_BLOCKED,
    Refusal.UDP_PORT_BLOCKED: Cause.UDP_BLOCKED,
    Refusal.TCP_BLOCKED: Cause.TCP_BLOCKED,
    Refusal.TCP_PORT_BLOCKED: Cause.TCP_BLOCKED,
    Refusal.QUOTA: Cause.QUOTA_REACHED,
    Refusal.EXHAUSTED: Cause.PORTS_EXHAUSTED,
    Refusal.COLLISION: Cause.PORT_COLLISION,
    Refusal.HAIRPIN: Cause.HAIRPIN_MISSING,
    Refusal.UNROUTED: Cause.SIGNALLED_PRIVATE,
}


def why(scene: Scene, side: Side, journeys: list[Journey]) -> Finding:
    """Why ``journeys`` of ``side`` ended at its own router; there is at least one."""
    if finding := too_long.refused(scene, journeys):
        return finding
    likely = Counter(j.end.rules for j in journeys).most_common(1)[0][0]
    mine = [j for j in journeys if j.end.rules == likely]
    end = mine[0].end
    rule = likely[0] if len(likely) == 1 else _told_apart(scene, mine)
    if lacking := scene.whole.unsure(end):
        return unknown(NotSeenOutside(side.node, end.node), *lacking)
    if rule is None:
        return unknown(StoppedByRules(end.node, side.node, likely), RulesTold(end.node))
    cause = _CAUSES.get(rule)
    if cause is None:
        return unknown(StoppedByRule(end.node, side.node, rule), ReasonFor(rule, end.node))
    first, last = mine[0].end.inward, mine[-1].end.inward
    assert first is not None  # it was stopped there, so it came there
    quota, until = scene.behaviour(end.node).quota, None
    if last is not None and last is not first:
        until = scene.ms(last)
    many = StoppedMany(end.node, len(mine), side.node, scene.ms(first), until)
    return Finding(
        cause,
        end.node,
        LetsNoOut(end.node, rule, first.protocol, side.node, first.destination, quota),
        (line(many, first, last),),
        (first,),
    )


def _told_apart(scene: Scene, journeys: list[Journey]) -> Refusal | None:
    """Which rule it was, where what the profile declares or the wire shows leaves one."""
    first = journeys[0].end.inward
    assert first is not None  # it was stopped there, so it came there
    rules, router, protocol = journeys[0].end.rules, journeys[0].end.node, first.protocol
    if not rules and scene.plan.owners.get(first.destination.address) == router:
        return Refusal.HAIRPIN  # which the router's own kernel took
    axes = scene.transport(router, protocol)
    passed = scene.outbound(router, protocol)
    if axes.blocked or (not rules and not passed):
        return BLOCKED[protocol]
    if axes.allowed_ports and first.destination.port not in axes.allowed_ports:
        return PORT_BLOCKED[protocol]
    quota = scene.behaviour(router).quota
    if quota is None:
        return None
    mine = {c.external for c in passed if c.internal.address == first.source.address}
    return Refusal.QUOTA if Refusal.QUOTA in rules and len(mine) >= quota else None
