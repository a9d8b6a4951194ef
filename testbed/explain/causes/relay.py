"""Why not even a relay carried the connection."""

from testbed.explain.causes import past, unsent
from testbed.explain.causes.finding import Finding, line, unknown
from testbed.explain.scene import Scene
from testbed.explain.sides import Side
from testbed.model.contract import Connected, Failed, FailureClass, FailureDetail, Reserved
from testbed.model.explanation import Cause, Line
from testbed.model.journey import Journey
from testbed.model.packet import Packet
from testbed.model.statement import At, relays
from testbed.model.technique import Relaying

CHALLENGES = (401, 438)  # not refusals but questions for credentials, RFC 8489 section 9.2


def why(scene: Scene) -> Finding | None:
    """What kept the peers from a relay; None if this says nothing of it."""
    if scene.circuits:
        return _circuit(scene)
    if scene.evidence.technique.relaying is Relaying.TURN:
        return _turn(scene)
    return None


# -- libp2p --------------------------------------------------------------------


def _circuit(scene: Scene) -> Finding | None:
    if scene.evidence.events is None:
        return None
    for side in (scene.listener, scene.dialer):  # the listener reserves first
        failure = side.failure
        if failure is None:
            continue
        if failure.detail is not None:
            return _refused(scene, side, failure)
        if failure.failure is FailureClass.GATHERING:
            return unsent.unlearned(scene, side)
    connected = [side for side in scene.sides if side.last(Connected) is not None]
    if connected:
        return _broken(scene)
    return _no_circuit(scene)


def _refused(scene: Scene, side: Side, failure: Failed) -> Finding:
    server = scene.evidence.server
    last = _last_word(scene, side)
    lines, shown = _told(scene, side, last), last[-1:]
    unreserved = failure.detail is FailureDetail.NO_RESERVATION
    if unreserved and scene.listener.last(Reserved) is not None:
        return Finding(
            Cause.LEASE_EXPIRED,
            server,
            relays.ReservationOver(scene.listener.node, server, failure.reason),
            lines,
            shown,
        )
    refused = relays.RelayRefused(server, side.node, failure.reason)
    return Finding(Cause.RELAY_REFUSED, server, refused, lines, shown)


def _last_word(scene: Scene, side: Side) -> tuple[Packet, ...]:
    """The last question and the relay's answer to it, before ``side`` gave up."""
    until = scene.when(side.failure) if side.failure else None
    asked = [j for j in scene.asked(side) if scene.to_server(j) and j.first.payload]
    back = [j for j in scene.answers(side, asked) if j.first.payload and j.arrived]
    answers = [j for j in back if until is None or j.last.time_ns <= until]
    if not answers:
        return ()
    last = answers[-1]
    questions = [j for j in asked if j.last.time_ns < last.first.time_ns]
    return (*(j.first for j in questions[-1:]), last.last)


def _told(scene: Scene, side: Side, shown: tuple[Packet, ...]) -> tuple[Line, ...]:
    """Both are encrypted: what the relay said is known by what the peer says."""
    if not shown:
        return ()
    return (line(relays.LastWords(side.node, scene.ms(shown[-1])), *shown),)


def _no_circuit(scene: Scene) -> Finding:
    """Both knew the relay, and none was connected by it."""
    side = scene.dialer
    since = scene.zero_ns
    asked = [j for j in scene.asked(side) if j.first.time_ns >= since]
    return _after(scene, side, [j for j in asked if scene.to_server(j)])


def _after(scene: Scene, side: Side, asked: list[Journey]) -> Finding:
    server, reason = scene.evidence.server, side.failure.reason if side.failure else None
    if lacking := scene.whole.absent(side.node, server):
        return unknown(relays.NotThrough(side.node, server, reason), *lacking)
    if not asked:
        return Finding(Cause.NEVER_SENT, side.node, relays.AskedNothing(side.node))
    answers = scene.answers(side, asked)
    alive = [j for j in answers if j.first.payload]
    if not alive and (found := past.why(scene, side, asked)):
        return found
    if not alive:
        refusals = scene.refusals(side, asked)
        shown = refusals[0].last if refusals else asked[0].last
        sent = relays.SentToRelay(side.node, server, bool(refusals))
        return Finding(
            Cause.RELAY_UNREACHABLE,
            server,
            relays.RelayGone(server, bool(refusals), side.node),
            (line(sent, asked[0].last, shown),),
            (shown,),
        )
    return Finding(
        Cause.PEER_FAILED,
        side.node,
        relays.FoundNoWay(side.node, server, reason),
        (line(relays.RelayAnswered(side.node, scene.ms(alive[-1].last)), alive[-1].last),),
        (alive[-1].last,),
    )


def _broken(scene: Scene) -> Finding | None:
    """There was a relayed connection, and it did not last."""
    for side in scene.sides:
        ends = [
            j
            for j in scene.refusals(side, scene.asked(side))
            if scene.from_server(j) and _before_end(scene, j)
        ]
        if ends:
            server, last = scene.evidence.server, ends[0].last
            return Finding(
                Cause.RELAY_UNREACHABLE,
                server,
                relays.RelayEnded(server, side.node, relayed=True),
                (line(At(relays.RelayEnded(server, side.node), scene.ms(last)), last),),
                (last,),
            )
    lost = [s for s in scene.sides if s.failure and s.failure.failure is FailureClass.LOST]
    if not lost:
        return None
    assert lost[0].failure is not None  # by the choice above
    server, words = scene.evidence.server, _last_word(scene, lost[0])
    return Finding(
        Cause.RELAY_REFUSED,
        server,
        relays.RelayedEnded(server, lost[0].failure.reason),
        _told(scene, lost[0], words),
        words[-1:],
    )


def _before_end(scene: Scene, journey: Journey) -> bool:
    """Before the peers themselves gave up."""
    times = [scene.when(side.failure) for side in scene.sides if side.failure]
    return all(time is None or journey.last.time_ns < time for time in times)


# -- TURN ------------------------------------------------------------------------


def _turn(scene: Scene) -> Finding | None:
    """Of a run that ended without a connection: what became of the allocations."""
    for side in scene.sides:
        asked = [j for j in scene.asked(side) if j.first.protocol == "tcp" and scene.to_server(j)]
        if error := _turn_error(scene, side):
            return error
        if side.last(Reserved) is not None or not asked:
            continue
        if any(j.arrived for j in asked):
            return _after(scene, side, [j for j in asked if j.arrived])
        return unsent.ended(scene, side, asked)
    return None


def _turn_error(scene: Scene, side: Side) -> Finding | None:
    for journey in scene.answers(side, scene.asked(side)):
        said = scene.labels.get(journey.first.number)
        # Permissions are refused for private candidates as a matter of course.
        asked = said is not None and said.field("method") == "Allocate"
        if said is None or not asked or said.error is None or said.error in CHALLENGES:
            continue
        code = said.field("ERROR-CODE")
        refused = relays.RelayRefused(journey.sender, side.node, code)
        return Finding(
            Cause.RELAY_REFUSED,
            journey.sender,
            refused,
            (line(At(refused, scene.ms(journey.first)), journey.first, journey.last),),
            (journey.last,),
        )
    return None
