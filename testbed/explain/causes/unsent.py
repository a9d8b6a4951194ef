"""Why a peer sent nothing towards the other: it never learned where to, or was not to."""

from dataclasses import replace

from testbed.explain.causes import past, refused, too_long
from testbed.explain.causes.finding import Finding, line, unknown
from testbed.explain.scene import Scene, outer, stopped
from testbed.explain.sides import Side
from testbed.model import contract
from testbed.model.contract import FailureClass, Listening, Offered
from testbed.model.explanation import Cause
from testbed.model.journey import Fate, Journey
from testbed.model.packet import RST, Endpoint
from testbed.model.statement import relays, runs
from testbed.model.statement.filters import KnownPrivate
from testbed.model.statement.lacks import AfterVantage, Events
from testbed.model.technique import Relaying
from testbed.verdict.sanity import seen_inside


def why(scene: Scene, side: Side) -> Finding:
    """Why ``side`` made no try."""
    if lacking := scene.whole.absent(side.node):
        return unknown(runs.NoneInCapture(side.node), *lacking)
    if scene.evidence.mode in ("silent", "relay_only"):
        return off(scene)
    if scene.evidence.events is None:
        return unknown(runs.SentNone(side.node), Events())
    for one in (scene.other(side), side):  # the other's address comes first
        if one.failure is not None and one.failure.failure is FailureClass.GATHERING:
            return unlearned(scene, one)
    if scene.evidence.mode == "plain_dial" and side is scene.listener:
        return Finding(Cause.FILTER_CLOSED, None, runs.OnlyAnswers(side.node))
    return _idle(scene, side)


def off(scene: Scene) -> Finding:
    """The control: nobody was to try."""
    a, b = (side.node for side in scene.sides)
    return Finding(Cause.PUNCHING_OFF, None, runs.PunchingOff(a, b))


def _idle(scene: Scene, side: Side) -> Finding:
    """It could have sent, and did not."""
    failure = side.failure
    if failure is not None:
        return Finding(Cause.PEER_FAILED, side.node, runs.GaveUp(side.node, failure.reason))
    if side.last(Offered) is None:
        return Finding(Cause.PEER_FAILED, side.node, runs.NeverOffered(side.node))
    leads, by_relay = scene.listener, scene.evidence.technique.relaying is Relaying.CIRCUIT
    if by_relay and seen_inside(scene.account, leads.node, scene.evidence.server):
        private = KnownPrivate(leads.node, scene.dialer.node, leads.told)
        return Finding(Cause.SIGNALLED_PRIVATE, leads.node, private)
    other = scene.other(side)
    return Finding(Cause.NEVER_SENT, side.node, runs.Idle(side.node, other.node, other.told))


def unlearned(scene: Scene, side: Side) -> Finding:
    """Why ``side`` got no answer from the public nodes that it asked."""
    asked = concerned(scene, side)
    unlearned = relays.Unlearned(side.node)
    if not asked and (lacking := scene.whole.absent(side.node)):
        return unknown(unlearned, *lacking)
    if not asked:
        nobody = relays.UnlearnedFor(unlearned, relays.AskedNobody(scene.protocol))
        return Finding(Cause.NEVER_SENT, side.node, nobody)
    opening = line(relays.Asks(side.node, asked[0].first.destination), asked[0].first)
    return ended(scene, side, asked).after([opening])


def ended(scene: Scene, side: Side, asked: list[Journey]) -> Finding:
    """Why none of ``asked``, which ``side`` sent to public nodes, was of use to it."""
    if any(j.arrived for j in asked):
        return _unanswered(scene, side, asked)
    if refusals := [j for j in asked if j.end.node in side.routers and stopped(j)]:
        return refused.why(scene, side, refusals)
    if lost := [j for j in asked if j.end.fate is Fate.LOST]:
        return _lost(scene, side, lost)
    if kept_out := [j for j in asked if outer(j.end) and stopped(j)]:
        return _kept_out(scene, side, kept_out[-1])
    return unknown(relays.QuestionsLastSeen(side.node), AfterVantage(asked[-1].last.vantage))


def concerned(scene: Scene, side: Side) -> list[Journey]:
    """What it sent to those who gave no answer to it; to all if each gave one."""
    own = {_endpoint(event.local) for event in side.all(Listening)}
    asked = [j for j in scene.asked(side) if j.first.protocol == scene.protocol]
    asked = [j for j in asked if j.first.source in own] or asked
    answered = {j.last.source for j in scene.answers(side, asked) if j.arrived and j.first.payload}
    return [j for j in asked if j.first.destination not in answered] or asked


def _endpoint(address: contract.Endpoint) -> Endpoint:
    return Endpoint(address.address, address.port)


def _kept_out(scene: Scene, side: Side, last: Journey) -> Finding:
    """The NAT of the one that was asked let nothing in."""
    router = last.end.node
    if lacking := scene.whole.unsure(last.end):
        return unknown(relays.QuestionsLastSeen(side.node), *lacking)
    closed = relays.NotLedIn(router, side.node, last.first.destination)
    shown = (last.last,)
    return Finding(Cause.FILTER_CLOSED, router, closed, (line(closed, *shown),), shown)


def _lost(scene: Scene, side: Side, lost: list[Journey]) -> Finding:
    if finding := too_long.among(scene, lost):
        return finding
    last = lost[0].last
    vanished = relays.NotSeenAgain(lost[0].sender, last.vantage)
    if lacking := scene.whole.unsure(lost[0].end):
        return unknown(vanished, *lacking)
    return Finding(
        Cause.LOST_ON_LINK,
        lost[0].end.node,
        relays.UnlearnedFor(relays.Unlearned(side.node), vanished),
        (line(vanished, last),),
        (last,),
    )


def _unanswered(scene: Scene, side: Side, asked: list[Journey]) -> Finding:
    """The questions arrived."""
    arrived = [j for j in asked if j.arrived]
    server = scene.evidence.server
    failure = side.failure
    reason = failure.reason if failure else None
    answers = scene.answers(side, arrived)
    refusals = scene.refusals(side, arrived)
    came = [j for j in answers if j.arrived]
    places = {j.first.destination for j in arrived if not j.first.tcp_flags & RST}
    if not any(j.last.source in places for j in came) and (found := past.why(scene, side, arrived)):
        return found
    if came:
        return Finding(
            Cause.PEER_FAILED,
            side.node,
            relays.MadeNothing(side.node, reason),
            (line(relays.AnswerCame(came[0].first.source, side.node), came[0].last),),
            (came[0].last,),
        )
    if lost := [j for j in answers if j.end.fate is Fate.LOST]:
        return _lost(scene, side, lost)
    if answers:
        stop = answers[0].end
        if lacking := scene.whole.unsure(stop):
            return unknown(relays.AnswersLastSeen(side.node, stop.node), *lacking)
        return Finding(
            Cause.FILTER_CLOSED,
            stop.node,
            relays.LetNoAnswer(stop.node, side.node),
            (line(relays.StoppedAnswer(stop.node), stop.inward or answers[0].last),),
            (stop.inward or answers[0].last,),
        )
    if lacking := scene.whole.absent(server):
        return unknown(relays.NoAnswer(side.node, reason), *lacking)
    silence = relays.Unanswered(arrived[0].first.destination, side.node, bool(refusals))
    shown = refusals[0].first if refusals else arrived[-1].last
    return Finding(
        Cause.RELAY_UNREACHABLE,
        arrived[0].end.node,
        replace(silence, reason=reason),
        (line(silence, arrived[0].last, shown),),
        (shown,),
    )
