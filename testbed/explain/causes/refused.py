"""Packets that their own side's NAT does not let out, by the rule that stopped them."""

from collections import Counter

from testbed.explain.causes.finding import Finding, line, unknown
from testbed.explain.model import Cause, Journey
from testbed.explain.scene import Scene
from testbed.explain.sides import Side

_CAUSES = {
    "udp-blocked": Cause.UDP_BLOCKED,
    "udp-port-blocked": Cause.UDP_BLOCKED,
    "tcp-blocked": Cause.TCP_BLOCKED,
    "tcp-port-blocked": Cause.TCP_BLOCKED,
    "quota": Cause.QUOTA_REACHED,
    "exhausted": Cause.PORTS_EXHAUSTED,
    "collision": Cause.PORT_COLLISION,
    "hairpin": Cause.HAIRPIN_MISSING,
    "unrouted": Cause.SIGNALLED_PRIVATE,
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
            f"{end.node} stopped {side.node}'s packets by its rule {rule!r}",
            f"a reason for {rule!r} in what {end.node}'s profile declares",
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
    "udp-blocked": "lets no UDP out",
    "tcp-blocked": "lets no TCP out",
    "udp-port-blocked": "lets no UDP out to that port: {what}",
    "tcp-port-blocked": "lets no TCP out to that port: {what}",
    "quota": "allows a subscriber {quota} {protocol} mappings, and all were in use",
    "exhausted": "has no port left for {what}",
    "collision": "gives {what} no port, since somebody else has it",
    "hairpin": "does not hairpin: {what} is for its own outside address",
    "unrouted": "has no way for {what}",
}


def _told_apart(scene: Scene, journeys: list[Journey]) -> str | None:
    """Which rule it was, where what the profile declares or the wire shows leaves one."""
    first = journeys[0].end.inward
    assert first is not None  # it was stopped there, so it came there
    rules, router, protocol = journeys[0].end.rules, journeys[0].end.node, first.protocol
    if not rules and scene.plan.owners.get(first.destination.address) == router:
        return "hairpin"  # which the router's own kernel took
    axes = scene.transport(router, protocol)
    passed = scene.outbound(router, protocol)
    if axes.blocked or (not rules and not passed):
        return f"{protocol}-blocked"
    if axes.allowed_ports and first.destination.port not in axes.allowed_ports:
        return f"{protocol}-port-blocked"
    quota = scene.behaviour(router).quota
    if quota is None:
        return None
    mine = {c.external for c in passed if c.internal.address == first.source.address}
    return "quota" if "quota" in rules and len(mine) >= quota else None
