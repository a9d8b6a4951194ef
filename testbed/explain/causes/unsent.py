"""Why a peer sent nothing towards the other: it never learned where to, or was not to."""

from testbed.explain.causes import refused
from testbed.explain.causes.finding import Finding, line, unknown
from testbed.explain.scene import Scene, stopped
from testbed.explain.sides import Side
from testbed.model import contract
from testbed.model.contract import FailureClass, Listening, Offered
from testbed.model.explanation import Cause, Fate, Journey
from testbed.model.packet import Endpoint


def why(scene: Scene, side: Side) -> Finding:
    """Why ``side`` made no try."""
    if lacking := scene.whole.absent(side.node):
        return unknown(f"no packet from {side.node} to the other peer is in the capture", *lacking)
    if scene.evidence.mode in ("silent", "relay_only"):
        return off(scene)
    if scene.evidence.events is None:
        return unknown(
            f"{side.node} sent nothing towards the other peer", "what the peers said: their events"
        )
    for one in (scene.other(side), side):  # the other's address comes first
        if one.failure is not None and one.failure.failure is FailureClass.GATHERING:
            return unlearned(scene, one)
    if scene.evidence.mode == "plain_dial" and side is scene.listener:
        return Finding(
            Cause.FILTER_CLOSED, None, f"{side.node} only answers, and nothing came to it"
        )
    return _idle(scene, side)


def off(scene: Scene) -> Finding:
    """The control: nobody was to try."""
    a, b = (side.node for side in scene.sides)
    return Finding(
        Cause.PUNCHING_OFF,
        None,
        f"hole punching is off in this control: neither {a} nor {b} sends towards the other",
    )


def _idle(scene: Scene, side: Side) -> Finding:
    """It could have sent, and did not."""
    failure = side.failure
    if failure is not None:
        return Finding(
            Cause.PEER_FAILED,
            side.node,
            f"{side.node} gave up before it sent anything to the other peer: {failure.reason}",
        )
    if side.last(Offered) is None:
        return Finding(
            Cause.PEER_FAILED, side.node, f"{side.node} never said by which address it is reached"
        )
    told = ", ".join(map(str, scene.other(side).told)) or "an address"
    return Finding(
        Cause.NEVER_SENT,
        side.node,
        f"{side.node} sent nothing towards {scene.other(side).node}, though {told} was signalled",
    )


def unlearned(scene: Scene, side: Side) -> Finding:
    """Why ``side`` got no answer from the public nodes that it asked."""
    asked = concerned(scene, side)
    words = f"{side.node} never learned by which address it is seen"
    if not asked and (lacking := scene.whole.absent(side.node)):
        return unknown(words, *lacking)
    if not asked:
        return Finding(
            Cause.NEVER_SENT, side.node, f"{words}: it asked nobody by {scene.protocol.upper()}"
        )
    opening = line(f"{side.node} asks {asked[0].first.destination}", asked[0].first)
    return ended(scene, side, asked).after([opening])


def ended(scene: Scene, side: Side, asked: list[Journey]) -> Finding:
    """Why none of ``asked``, which ``side`` sent to public nodes, was of use to it."""
    if any(j.arrived for j in asked):
        return _unanswered(scene, side, asked)
    if refusals := [j for j in asked if j.end.node in side.routers and stopped(j)]:
        return refused.why(scene, side, refusals)
    if lost := [j for j in asked if j.end.fate is Fate.LOST]:
        return _lost(scene, side, lost)
    return unknown(
        f"{side.node}'s questions are last seen on their way",
        f"what became of them after {asked[-1].last.vantage}",
    )


def concerned(scene: Scene, side: Side) -> list[Journey]:
    """What it sent to those who gave no answer to it; to all if each gave one."""
    own = {_endpoint(event.local) for event in side.all(Listening)}
    asked = [j for j in scene.asked(side) if j.first.protocol == scene.protocol]
    asked = [j for j in asked if j.first.source in own] or asked
    answered = {j.last.source for j in scene.answers(side, asked) if j.arrived and j.first.payload}
    return [j for j in asked if j.first.destination not in answered] or asked


def _endpoint(address: contract.Endpoint) -> Endpoint:
    return Endpoint(address.address, address.port)


def _lost(scene: Scene, side: Side, lost: list[Journey]) -> Finding:
    last = lost[0].last
    words = f"{lost[0].sender}'s packets left {last.vantage} and are not seen again"
    if lacking := scene.whole.unsure(lost[0].end):
        return unknown(words, *lacking)
    return Finding(
        Cause.LOST_ON_LINK,
        lost[0].end.node,
        f"{side.node} never learned by which address it is seen: {words}",
        (line(words, last),),
        (last,),
    )


def _unanswered(scene: Scene, side: Side, asked: list[Journey]) -> Finding:
    """The questions arrived."""
    arrived = [j for j in asked if j.arrived]
    server = scene.evidence.server
    failure = side.failure
    reason = f": {failure.reason}" if failure else ""
    answers = scene.answers(side, arrived)
    refusals = scene.refusals(side, arrived)
    came = [j for j in answers if j.arrived]
    if came:
        return Finding(
            Cause.PEER_FAILED,
            side.node,
            f"{side.node} was answered, and made nothing of it{reason}",
            (line(f"an answer from {came[0].first.source} came to {side.node}", came[0].last),),
            (came[0].last,),
        )
    if lost := [j for j in answers if j.end.fate is Fate.LOST]:
        return _lost(scene, side, lost)
    if answers:
        stop = answers[0].end
        if lacking := scene.whole.unsure(stop):
            return unknown(f"the answers to {side.node} are last seen at {stop.node}", *lacking)
        return Finding(
            Cause.FILTER_CLOSED,
            stop.node,
            f"{stop.node} let no answer in to {side.node}",
            (line(f"{stop.node} stopped the answer", stop.inward or answers[0].last),),
            (stop.inward or answers[0].last,),
        )
    if lacking := scene.whole.absent(server):
        return unknown(f"no answer to {side.node} is in the capture{reason}", *lacking)
    how = "refused them" if refusals else "did not answer"
    words = f"{arrived[0].first.destination} got {side.node}'s packets and {how}"
    shown = refusals[0].first if refusals else arrived[-1].last
    return Finding(
        Cause.RELAY_UNREACHABLE,
        arrived[0].end.node,
        words + reason,
        (line(words, arrived[0].last, shown),),
        (shown,),
    )
