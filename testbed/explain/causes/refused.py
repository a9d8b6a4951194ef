"""Packets that their own side's NAT does not let out, by the rule that stopped them."""

from collections import Counter

from testbed.explain.causes.finding import Finding, line, unknown
from testbed.explain.scene import Scene
from testbed.explain.sides import Side
from testbed.model.explanation import Cause, Journey
from testbed.model.refusal import BLOCKED, PORT_BLOCKED, Refusal

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
    likely = Counter(j.end.rules for j in journeys).most_common(1)[0][0]
    mine = [j for j in journeys if j.end.rules == likely]
    end = mine[0].end
    rule = likely[0] if len(likely) == 1 else _told_apart(scene, mine)
    if lacking := scene.whole.unsure(end):
        return unknown(
            f"{side.node}'s packets came to {end.node} and are not seen to leave it", *lacking
        )
    if rule is None:
        rules = " or ".join(likely) or "none that is known"
        return unknown(
            f"{end.node} stopped {side.node}'s packets, by the rule {rules}",
            f"the drop counters of {end.node}, which tell these rules apart",
        )
    cause = _CAUSES.get(rule)
    if cause is None:
        return unknown(
            f"{end.node} stopped {side.node}'s packets by its rule {rule.value!r}",
            f"a reason for {rule.value!r} in what {end.node}'s profile declares",
        )
    first, last = mine[0].end.inward, mine[-1].end.inward
    assert first is not None  # it was stopped there, so it came there
    words = _WORDS.get(rule, "drops {what}").format(
        what=f"{first.protocol.upper()} from {side.node} to {first.destination}",
        quota=scene.behaviour(end.node).quota,
        protocol=first.protocol.upper(),
    )
    times = f"at {scene.ms(first)}"
    if last is not None and last is not first:
        times = f"from {scene.ms(first)} to {scene.ms(last)}"
    many = "a packet" if len(mine) == 1 else f"{len(mine)} packets"
    return Finding(
        cause,
        end.node,
        f"{end.node} {words}",
        (line(f"{end.node} stopped {many} of {side.node}, {times}", first, last),),
        (first,),
    )


_WORDS = {
    Refusal.UDP_BLOCKED: "lets no UDP out",
    Refusal.TCP_BLOCKED: "lets no TCP out",
    Refusal.UDP_PORT_BLOCKED: "lets no UDP out to that port: {what}",
    Refusal.TCP_PORT_BLOCKED: "lets no TCP out to that port: {what}",
    Refusal.QUOTA: "allows a subscriber {quota} {protocol} mappings, and all were in use",
    Refusal.EXHAUSTED: "has no port left for {what}",
    Refusal.COLLISION: "gives {what} no port, since somebody else has it",
    Refusal.HAIRPIN: "does not hairpin: {what} is for its own outside address",
    Refusal.UNROUTED: "has no way for {what}",
}


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
