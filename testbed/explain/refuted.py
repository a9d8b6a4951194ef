"""Which step of a prediction the wire refutes.

The model's trace has a step for each of its events; what it tells of a packet from one
peer to the other is looked for in the journeys.
"""

from testbed.explain.causes.finding import Finding, line
from testbed.explain.scene import Scene, stopped
from testbed.explain.sides import Side
from testbed.model.explanation import Line
from testbed.model.journey import Journey
from testbed.model.packet import ACK, SYN
from testbed.model.statement.claims import Foretold, LeftBy, RefutedBy
from testbed.model.statement.ways import CameAndEnded
from testbed.model.trace import Kind, Place, TraceStep, Verb


def refuted(scene: Scene, finding: Finding) -> Line:
    """The first step that went otherwise, beside the packet that shows it."""
    prediction = scene.evidence.prediction
    a, b = scene.sides
    for look in (_mapping, _entering):
        for source, target in ((a, b), (b, a)):
            if found := look(scene, prediction.trace, source, target):
                return found
    whole = Foretold(prediction.outcome, prediction.reason)
    return line(RefutedBy(whole, finding.headline), *finding.decisive)


def _owner(place: Place) -> str:
    """The node that has this address of the model."""
    return place.address.partition("#")[0]


def _of(trace: tuple[TraceStep, ...], source: Side, target: Side) -> list[TraceStep]:
    """Steps of packets from one peer, or its NATs, to the other, or its NATs."""
    here, there = ({side.node, *side.routers} for side in (source, target))
    return [
        step for step in trace if _owner(step.source) in here and _owner(step.destination) in there
    ]


# -- by which endpoint a peer leaves -------------------------------------------


def _mapping(scene: Scene, trace: tuple[TraceStep, ...], source: Side, target: Side) -> Line | None:
    """Does the NAT keep the endpoint that the public nodes saw?"""
    if not source.routers:
        return None
    router = source.routers[-1]
    left = [
        step for step in trace if step.verb is Verb.LEAVES and _owner(step.source) == source.node
    ]
    tries = [step for step in _of(trace, source, target) if step in left]
    told = {step.place for step in left if step not in tries}
    sent = [c for j in scene.tries(source) if (c := scene.crossing(router, j))]
    if not tries or not told or not sent:
        return None
    step = tries[-1]
    keeps = step.place in told
    kept = next((c for c in sent if c.external in source.told), None)
    if keeps == (kept is not None) or not source.told:
        return None
    shown = kept or sent[0]
    left_by = LeftBy(source.node, router, kept is not None, shown.external)
    return line(RefutedBy(step, left_by), *shown.packets)


# -- who gets in ----------------------------------------------------------------


def _entering(
    scene: Scene, trace: tuple[TraceStep, ...], source: Side, target: Side
) -> Line | None:
    """Does the far NAT let the packets in?"""
    about = [
        step for step in _of(trace, source, target) if _owner(step.destination) in target.routers
    ]
    entered = [step for step in about if step.verb is Verb.ENTERS]
    barred = [step for step in about if step.verb in (Verb.ARRIVES, Verb.DROPPED)]
    tries = scene.tries(source)
    came = [j for j in tries if j.arrived and j.end.node == target.node]
    shut = [j for j in tries if stopped(j)]
    if entered and shut and not came:
        alike = [j for j in shut if _alike(entered[0], j)]
        return _unlike(entered[0], (alike or shut)[-1])
    if barred and not entered and came:
        return _unlike(barred[-1], came[0])
    return None


def _alike(step: TraceStep, journey: Journey) -> bool:
    """The same step of a handshake, as far as TCP's flags tell."""
    flags = journey.first.tcp_flags & (SYN | ACK)
    return (step.kind is Kind.SYN_ACK) is (flags == SYN | ACK)


def _unlike(step: TraceStep, journey: Journey) -> Line:
    at = journey.end.inward or journey.last
    rule = journey.end.rules[0].value if journey.end.rules else None
    came = CameAndEnded(at.source, journey.end.node, at.destination, journey.arrived, rule)
    return line(RefutedBy(step, came), at, journey.end.answer)
