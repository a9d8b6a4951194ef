"""Why a connection lived on or did not: the moments of its life, with their packets."""

from collections.abc import Mapping, Sequence

from testbed.evidence.account import WireAccount
from testbed.explain.diagram import diagram
from testbed.model.breach import LossClaimed, LossUntold
from testbed.model.details import LifeDetails, Moment
from testbed.model.explanation import Cause, Citation, Diagram, Explanation, Line, Stage, Wrong
from testbed.model.frozen import FrozenValue
from testbed.model.life import Fate, MomentKind
from testbed.model.packet import Packet
from testbed.model.result import Result
from testbed.model.statement.crossings import CaseTold, NothingCrossed
from testbed.model.statement.lives import Connected, Happened
from testbed.model.topology import Topology
from testbed.model.verdict import Judgement

_WRONG = {
    Judgement.PASS: Wrong.NOBODY,
    Judgement.FAIL: Wrong.UNDECIDED,
    Judgement.INCONCLUSIVE: Wrong.HARNESS,
}
_Stop = tuple[str, Cause, str | None]


class _Scene(FrozenValue):
    """Who is where.  ``stops``: how far a packet of the echo may get, the furthest place first,
    why it goes no further, and the node where that is.
    """

    dialer: str
    listener: str
    home: str | None  # the dialer's first NAT
    other: str | None  # the listener's last one on the way to it
    stops: tuple[_Stop, ...]


def _scene(topology: Topology) -> _Scene:
    a, b = topology.roles.a, topology.roles.b
    far = topology.path_out(b)
    ours = [one for one in topology.routers if one not in far]
    stops: list[_Stop] = [(f"{one.name}:wan", Cause.FILTER_CLOSED, one.name) for one in far]
    stops = [(f"{one.name}:lan", Cause.LOST_ON_LINK, one.name) for one in far] + stops
    stops += [(f"{one.name}:wan", Cause.LOST_ON_LINK, None) for one in ours]
    stops += [(f"{one.name}:lan", Cause.LOST_ON_LINK, one.name) for one in ours]
    stops.append((f"{a}:eth0", Cause.LOST_ON_LINK, None))
    home = next((one.name for one in topology.path_out(a)), None)
    return _Scene(a, b, home, far[-1].name if far else None, tuple(stops))


def explained(result: Result, account: WireAccount) -> Explanation:
    """By the moments that the result tells of."""
    details = result.details
    assert isinstance(details, LifeDetails)
    packets = {packet.number: packet for packet in account.packets or ()}
    scene = _scene(account.plan.topology)
    decisive = _decisive(details, scene)
    cited = {number for moment in details.timeline for number in moment.packets}
    cause, node = _cause(result, details, scene)
    return Explanation(
        name=result.name,
        mechanism=result.study,
        measured=result.measured,
        predicted=result.predicted,
        judgement=result.judgement,
        cause=cause,
        node=node,
        headline=CaseTold(result.reason),
        story=_story(details, packets),
        decisive=tuple(Citation.of(packets[n]) for n in decisive if n in packets),
        wrong=_WRONG[result.judgement],
        wrong_why=None,
        missing=() if details.timeline else (NothingCrossed(),),
        diagram=_drawn(account, scene, cited),
    )


def _story(details: LifeDetails, packets: Mapping[int, Packet]) -> tuple[Line, ...]:
    """What happened, and who was connected when, in the order of time."""
    spells = details.seen.spells if details.seen else ()
    told = [(s.start, Line(Connected(s.start, s.end, s.relayed, s.at), ())) for s in spells]
    for one in details.timeline:
        cited = tuple(Citation.of(packets[n]) for n in one.packets if n in packets)
        line = Line(Happened(one.kind, one.seconds, one.node, one.said), cited)
        told.append((one.seconds, line))
    return tuple(line for _, line in sorted(told, key=lambda one: one[0]))


def _drawn(account: WireAccount, scene: _Scene, cited: set[int]) -> Diagram:
    """The packets of the moments; nothing, where the dialer has moved and was not recorded."""
    if not any(packet.vantage.startswith(f"{scene.dialer}:") for packet in account.packets or ()):
        return Diagram((), ())
    shown = [journey for journey in account.journeys if cited.intersection(journey.packets)]
    return diagram(Stage(account.plan, scene.dialer, scene.listener), shown, account.labels, cited)


def _decisive(details: LifeDetails, scene: _Scene) -> Sequence[int]:
    """Where a packet was stopped, else the ends of the longest gap."""
    stops = {one.said: one for one in details.timeline if one.kind is MomentKind.STOPPED}
    arrived = [one for one in details.timeline if one.kind is MomentKind.ARRIVED]
    found = (
        arrived
        or [stops[place] for place, _, _ in scene.stops if place in stops][:1]
        or [
            moment
            for moment in details.timeline
            if moment.kind in (MomentKind.LAST_ECHO, MomentKind.FIRST_ECHO)
        ]
    )
    return [number for moment in found for number in moment.packets]


def _cause(result: Result, details: LifeDetails, scene: _Scene) -> tuple[Cause, str | None]:
    """And the node where it is."""
    seen = details.seen
    if seen is None or result.judgement is Judgement.INCONCLUSIVE:
        return Cause.HARNESS_FAULT, None
    if any(isinstance(one, LossClaimed | LossUntold) for one in result.finding_values):
        return Cause.FALSE_CLAIM, scene.dialer
    if seen.fate is Fate.SURVIVES:
        return (Cause.FILTER_ADMITS, scene.other) if seen.moved else (Cause.BOTH_OPENED, None)
    if details.silent:
        return Cause.MAPPING_TIMED_OUT, scene.home
    return _stopped(details.timeline, scene) or (
        (Cause.MAPPING_CHANGED, scene.home) if seen.moved else (Cause.UNKNOWN, None)
    )


def _stopped(timeline: Sequence[Moment], scene: _Scene) -> tuple[Cause, str | None] | None:
    if any(moment.kind is MomentKind.ARRIVED for moment in timeline):
        return Cause.MAPPING_CHANGED, scene.home  # the listener does not know where it comes from
    places = {moment.said for moment in timeline if moment.kind is MomentKind.STOPPED}
    return next(((cause, node) for place, cause, node in scene.stops if place in places), None)
