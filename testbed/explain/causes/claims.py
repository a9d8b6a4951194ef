"""A peer's last word on its connection, held against the wire; and a protocol that was broken.

Every packet that is cited here is one that the statement beside it is about.  Where the
wire neither shows nor denies what a peer says, its claim is no cause.
"""

from testbed.evidence.echoes import tells, volume
from testbed.explain.causes.direction import Direction
from testbed.explain.causes.finding import Finding, line, unknown
from testbed.explain.scene import Scene
from testbed.explain.sides import Side
from testbed.model.breach import NeverSent, TriedLittle, cited
from testbed.model.contract import Connected, Failed, FailureClass, Upgraded
from testbed.model.explanation import Cause, Line
from testbed.model.frozen import FrozenValue
from testbed.model.outcome import Outcome
from testbed.model.packet import Packet
from testbed.model.path import Traffic
from testbed.model.statement import Statement, claims
from testbed.model.statement.lacks import Events
from testbed.model.statement.runs import GaveUpEarly, SentNothing
from testbed.model.window import Window


def why(scene: Scene) -> Finding | None:
    """Who said what is not so, or broke the protocol; None where that explains nothing."""
    evidence = scene.evidence
    if not evidence.findings or evidence.measured is None:
        return None
    if any(s.failure and s.failure.failure is FailureClass.LOST for s in scene.sides):
        return None  # it was so when it was said, perhaps
    if evidence.events is None or not evidence.packets:
        return unknown(claims.Found(evidence.findings), *(scene.whole.trouble or (Events(),)))
    for side in scene.sides:
        claim = claimed(side)
        if claim is None or claim is evidence.measured:
            continue
        if evidence.measured is not Outcome.NONE:
            return _otherwise(scene, side, evidence.measured)
        if found := _unseen(scene, side, claim):
            return found
    silent = _silent(scene)
    if silent is not None or evidence.measured is Outcome.NONE:
        return silent  # packets that crossed, without a connection, have causes of their own
    return _violated(scene)


def _silent(scene: Scene) -> Finding | None:
    """Who made no attempt at all, or too little of one."""
    for breach in scene.evidence.findings:
        if isinstance(breach, NeverSent):
            return Finding(Cause.NEVER_SENT, breach.node, SentNothing(breach.node))
        if isinstance(breach, TriedLittle):
            return Finding(Cause.PROTOCOL_VIOLATION, breach.node, GaveUpEarly(breach))
    return None


def claimed(side: Side) -> Outcome | None:
    """As `testbed.studies.punch.attempt` reads a peer's events."""
    for event in reversed(side.events):
        if isinstance(event, Failed):
            return Outcome.NONE
        if isinstance(event, Upgraded):
            return Outcome.DIRECT
        if isinstance(event, Connected):
            return Outcome(event.path.value)
    return Outcome.NONE if side.events else None


def said(side: Side) -> claims.Claims:
    """The claim; of a peer that said nothing, that it has no connection."""
    return claims.Claims(side.node, claimed(side) or Outcome.NONE)


def _otherwise(scene: Scene, side: Side, measured: Outcome) -> Finding:
    """The wire shows a connection, of another path than ``side`` claims."""
    cited = frozenset(scene.evidence.cited)
    shown = [p for p in scene.evidence.packets or () if p.number in cited]
    first = {(p.node, p.outgoing): p for p in reversed(shown)}  # of the connection, each way
    decisive = sorted(first.values(), key=lambda packet: packet.time_ns)
    return Finding(
        Cause.FALSE_CLAIM,
        side.node,
        claims.Denied(said(side), measured),
        tuple(_carried(packet) for packet in decisive),
        tuple(decisive),
    )


def _carried(packet: Packet) -> Line:
    if packet.outgoing:
        return line(claims.BytesLeft(packet.node, Traffic.CONNECTION, packet.destination), packet)
    return line(claims.BytesCame(Traffic.CONNECTION, packet.node, packet.source), packet)


def _unseen(scene: Scene, side: Side, claim: Outcome) -> Finding | None:
    """The wire shows no connection, and ``side`` claims one.

    Where nothing was echoed, that alone denies no claim: packets that did not come do.
    """
    if scene.evidence.window is not None:
        return _unechoed(scene, side)
    if claim is Outcome.RELAYED:
        return None  # what became of the relayed connection is the relay's story
    other = scene.other(side)
    for way in (Direction(scene, other, side), Direction(scene, side, other)):
        obstacle = way.obstacle()
        if obstacle is not None and obstacle.cause is Cause.UNKNOWN:
            return unknown(claims.ClaimBut(said(side), obstacle.headline), *obstacle.missing)
        if obstacle is not None:
            nothing = claims.NothingCame(way.source.node, way.target.node, obstacle.headline)
            return Finding(
                Cause.FALSE_CLAIM,
                side.node,
                claims.ClaimBut(said(side), nothing),
                obstacle.lines,
                obstacle.decisive,
            )
    return None


class _Way(FrozenValue):
    """One direction of an echo that was asked for: its packets that left, and that came."""

    source: str
    target: str
    left: tuple[Packet, ...]
    came: tuple[Packet, ...]
    window: Window

    @property
    def shown(self) -> list[Packet]:
        """The first that left, and the first that came."""
        return [*self.left[:1], *self.came[:1]]

    @property
    def lines(self) -> list[Line]:
        found = [
            line(claims.BytesLeft(self.source, Traffic.ECHO, packet.destination), packet)
            for packet in self.left[:1]
        ]
        return found + [
            line(claims.BytesCame(Traffic.ECHO, self.target, packet.source), packet)
            for packet in self.came[:1]
        ]

    @property
    def gap(self) -> Statement | None:
        """What is missing of it; None if it went through, which half of its bytes show."""
        if not self.left:
            return claims.EchoUnsent(self.source)
        if not self.came:
            return claims.EchoUnseen(self.source, self.target)
        size, came = self.window.size, volume((p.payload for p in self.came), self.window)
        if came * 2 < size:
            return claims.EchoShort(size, came, self.target)
        return None


def _unechoed(scene: Scene, side: Side) -> Finding | None:
    """An echo was asked for, and its bytes did not cross both ways."""
    lines: list[Line] = []
    for source in (scene.dialer, scene.listener):  # as the echo goes: there, then back
        way = _way(scene, source)
        lines += way.lines
        if way.gap is None:
            continue
        headline = claims.ClaimBut(said(side), way.gap)
        nodes = (way.target,) if way.left else (way.source,)
        if not way.came and (lacking := scene.whole.absent(*nodes)):
            return unknown(headline, *lacking)
        return Finding(Cause.FALSE_CLAIM, side.node, headline, tuple(lines), tuple(way.shown))
    return None


def _way(scene: Scene, source: Side) -> _Way:
    window, target = scene.evidence.window, scene.other(source)
    assert window is not None  # an echo was asked for
    during = [
        packet
        for packet in scene.evidence.packets or ()
        if window.start_ns <= packet.time_ns <= window.end_ns and tells(packet.payload, window)
    ]
    left = (p for p in during if p.outgoing and p.node == source.node)
    came = (p for p in during if not p.outgoing and p.node == target.node)
    return _Way(source.node, target.node, tuple(left), tuple(came), window)


def _violated(scene: Scene) -> Finding:
    """The packets are those that the judge cites."""
    findings = scene.evidence.findings
    numbers = {number for breach in findings for number in cited(breach)}
    shown = tuple(p for p in scene.evidence.packets or () if p.number in numbers)
    return Finding(
        Cause.PROTOCOL_VIOLATION,
        shown[0].node if shown else None,
        claims.NotKept(findings),
        (line(claims.NotAllowed(), *shown),) if shown else (),
        shown,
    )
