"""One cause of a run, from both directions and the relay between them."""

from testbed.explain.causes import claims, harness, relay, through, too_long, unsent, unshared
from testbed.explain.causes.direction import Direction
from testbed.explain.causes.finding import Finding, line, unknown
from testbed.explain.scene import Scene
from testbed.model.explanation import Cause, Line
from testbed.model.outcome import Outcome
from testbed.model.statement import claims as told
from testbed.model.statement import runs

# Which of two causes comes first in the chain: what was never sent was never dropped.
_ORDER = (
    (Cause.UDP_BLOCKED, Cause.TCP_BLOCKED, Cause.LOST_ON_LINK, Cause.RELAY_UNREACHABLE),
    (Cause.TOO_LONG,),
    (Cause.PORT_NOT_SHARED,),
    (Cause.PEER_FAILED, Cause.NEVER_SENT, Cause.PUNCHING_OFF),
    (Cause.QUOTA_REACHED, Cause.PORTS_EXHAUSTED, Cause.HAIRPIN_MISSING),
    (Cause.SIGNALLED_STALE,),
    (Cause.TUPLE_TAKEN, Cause.MAPPING_TIMED_OUT, Cause.PORT_COLLISION, Cause.MAPPING_CHANGED),
    (Cause.LEASE_EXPIRED,),
    (Cause.EARLY_SYN_RESET, Cause.EARLY_PACKET_REJECTED),
    (Cause.FILTER_NOT_OPEN_YET,),
    # The rest is so for a reason of its own, which has to be known.
    (Cause.UNKNOWN,),
    (Cause.SIGNALLED_PRIVATE,),
    (Cause.FILTER_CLOSED,),
)
ROLE_CONFLICT = 487  # STUN's code, RFC 8445 section 7.3.1.1
RANK = {cause: rank for rank, causes in enumerate(_ORDER) for cause in causes}


def why(scene: Scene) -> Finding:
    """Why the run ended as it was measured, or what broke it."""
    broken = harness.why(scene) or claims.why(scene)
    if broken is None:
        return _measured(scene)
    if broken.cause in (Cause.HARNESS_FAULT, Cause.PEER_FAILED) and scene.evidence.packets:
        rest = _measured(scene)  # which may be of use, and decides nothing
        if rest.cause is not Cause.UNKNOWN:
            return broken.after([Line(runs.AsFarAs(rest.headline)), *rest.lines])
    return broken


def _measured(scene: Scene) -> Finding:
    evidence = scene.evidence
    if evidence.packets is None or not evidence.packets:
        return unknown(runs.NoPackets(), *scene.whole.trouble)
    if evidence.measured is Outcome.DIRECT:
        return through.why(scene)
    if evidence.measured is Outcome.NONE and (finding := too_long.echo(scene) or relay.why(scene)):
        return finding
    return _not_direct(scene)


def _not_direct(scene: Scene) -> Finding:
    if scene.evidence.mode in ("silent", "relay_only"):
        return _off(scene)
    a, b = scene.sides
    ways = (Direction(scene, a, b), Direction(scene, b, a))
    found = unshared.why(scene)
    found += [finding for way in ways if (finding := way.obstacle()) is not None]
    if not found:
        return _nothing_came_of_it(scene, *ways)
    found.sort(key=lambda finding: RANK.get(finding.cause, len(_ORDER)))
    rest = [one for finding in found[1:] for one in finding.lines]
    arrived = [_arrived(way) for way in ways if way.arrived]
    return found[0].after([*rest, *arrived])


def _arrived(way: Direction) -> Line:
    last = way.arrived[0].last
    return line(runs.CameTo(way.source.node, way.target.node, way.scene.ms(last)), last)


def _off(scene: Scene) -> Finding:
    """The control, if it was kept."""
    for side in scene.sides:
        if tries := scene.tries(side):
            first = tries[0].first
            sent = runs.SentThoughOff(side.node, first.destination)
            return Finding(
                Cause.PROTOCOL_VIOLATION, side.node, sent, (line(sent, first),), (first,)
            )
        if lacking := scene.whole.absent(side.node):
            return unknown(runs.StillnessUnseen(side.node), *lacking)
    return unsent.off(scene)


def _nothing_came_of_it(scene: Scene, there: Direction, back: Direction) -> Finding:
    """Packets passed both ways."""
    lines = (_arrived(there), _arrived(back))
    for side in scene.sides:
        for journey in scene.tries(side):
            said = scene.labels.get(journey.first.number)
            if said is not None and said.error == ROLE_CONFLICT:
                same = runs.SameRole(side.node, said.field("ERROR-CODE"))
                return Finding(
                    Cause.ROLE_CONFLICT,
                    side.node,
                    same,
                    (*lines, line(same, journey.first, journey.last)),
                    (journey.last,),
                )
    routers = [name for side in scene.sides for name in side.routers]
    if scene.evidence.window is not None and (lacking := scene.whole.absent(*routers)):
        return unknown(told.EchoUnseen(there.source.node, there.target.node), *lacking)
    lost = (journey for side in scene.sides for journey in scene.tries(side))
    if finding := too_long.among(scene, lost):
        return finding.after(lines)
    for way, other in ((there, back), (back, there)):
        if finding := _from_elsewhere(way, other):
            return finding.after(lines)
    reasons = ((side.node, side.failure.reason) for side in scene.sides if side.failure)
    return Finding(
        Cause.HANDSHAKE_FAILED,
        None,
        runs.NothingCameOfIt(tuple(reasons)),
        lines,
        (there.arrived[0].last, back.arrived[0].last),
    )


def _from_elsewhere(way: Direction, back: Direction) -> Finding | None:
    """What comes does not come from where it was sent to, so it is no answer."""
    journey = back.arrived[0]  # later ones may have been answered, wherever they came from
    source = journey.last.source
    dialed = {j.first.destination for j in way.tries if j.first.time_ns < journey.last.time_ns}
    if not dialed or source in dialed:
        return None
    elsewhere = runs.NotAnswer(way.source.node, tuple(sorted(dialed, key=str)), source)
    shown = (way.tries[0].first, journey.last)
    lines = [line(runs.CameFrom(back.source.node, source), journey.last)]
    answers = [j for j in way.arrived if j.first.destination == source]
    lines += [
        line(runs.AnsweredTo(way.source.node, source, j.end.node), j.first, j.last)
        for j in answers[:1]
    ]
    lines += [line(claims.said(side)) for side in way.scene.sides if side.events]
    return Finding(Cause.HANDSHAKE_FAILED, way.source.node, elsewhere, tuple(lines), shown)
