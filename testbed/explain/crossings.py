"""Why a case of any study ended as it did, as far as the packets between its hosts tell."""

from collections.abc import Callable, Iterable, Sequence

from testbed.evidence.account import WireAccount
from testbed.explain.diagram import diagram
from testbed.model.explanation import Cause, Citation, Explanation, Line, Stage, Wrong
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Fate, Journey
from testbed.model.packet import Endpoint
from testbed.model.result import Result
from testbed.model.statement import Statement, Stop
from testbed.model.statement.crossings import CaseTold, NothingCrossed, Reached, Stopped
from testbed.model.verdict import Judgement

MOST_LINES = 20  # of a story
_STOPS = {Fate.TAKEN: Stop.TAKEN, Fate.DROPPED: Stop.DROPPED, Fate.LOST: Stop.DROPPED}


def openings(journeys: Iterable[Journey]) -> list[Journey]:
    """The first datagram or segment of each flow between two sockets, whoever sent it."""
    found: list[Journey] = []
    seen: set[tuple[str, frozenset[Endpoint]]] = set()
    for journey in journeys:
        if journey.first.protocol not in ("udp", "tcp"):
            continue
        sights = (journey.first, journey.last)  # as it was sent, and as a NAT has changed it
        flows = {(one.protocol, frozenset((one.source, one.destination))) for one in sights}
        if seen.isdisjoint(flows):
            found.append(journey)
        seen |= flows
    return found


class Shown(FrozenValue):
    """Which packets tell of a case: those of ``story``, and of them those that ``decide``.

    ``through`` is the cause where one of these came to its host.
    """

    story: Sequence[Journey]
    decides: Callable[[Journey], bool]
    through: Cause = Cause.REACHABLE


def crossings(result: Result, account: WireAccount, shown: Shown | None = None) -> Explanation:
    """The explanation; by default by every flow that was opened in the lab."""
    shown = shown or Shown(openings(account.journeys), lambda _: True)
    deciding = [journey for journey in shown.story if shown.decides(journey)]
    through = [journey for journey in deciding if journey.arrived]
    stopped = [journey for journey in deciding if not journey.arrived]
    decisive = (through or stopped)[:1]
    cause, node = Cause.UNKNOWN, None
    if result.judgement is Judgement.INCONCLUSIVE:
        cause = Cause.HARNESS_FAULT
    elif through:
        cause = shown.through
    elif stopped:
        cause, node = Cause.FILTER_CLOSED, stopped[0].end.node
    hosts = account.plan.topology.hosts
    cited = {number for journey in decisive for number in journey.packets}
    return Explanation(
        name=result.name,
        mechanism=result.study,
        measured=result.measured,
        predicted=result.predicted,
        judgement=result.judgement,
        cause=cause,
        node=node,
        headline=_headline(result, decisive),
        story=tuple(_story(shown.story)),
        decisive=tuple(Citation.of(journey.last) for journey in decisive),
        wrong=_WRONG[result.judgement],
        wrong_why=None,
        missing=() if deciding else (NothingCrossed(),),
        diagram=diagram(
            Stage(account.plan, hosts[0].name, hosts[-1].name), shown.story, account.labels, cited
        ),
    )


_WRONG = {
    Judgement.PASS: Wrong.NOBODY,
    Judgement.FAIL: Wrong.UNDECIDED,
    Judgement.INCONCLUSIVE: Wrong.HARNESS,
}


def _headline(result: Result, decisive: Sequence[Journey]) -> Statement:
    if result.reason or not decisive:
        return CaseTold(result.reason or f"{result.measured or 'nothing'} was measured")
    return _fact(decisive[0], 1)


def _story(journeys: Sequence[Journey]) -> list[Line]:
    """A line for all that fared alike, in order of time."""
    groups: dict[object, list[Journey]] = {}
    for journey in journeys:
        first = journey.first
        end = (journey.end.node, journey.end.fate)
        key = (journey.sender, first.protocol, first.destination, end)
        groups.setdefault(key, []).append(journey)
    return [
        Line(_fact(some[0], len(some)), (Citation.of(some[0].last),))
        for some in list(groups.values())[:MOST_LINES]
    ]


def _fact(journey: Journey, count: int) -> Statement:
    first, end = journey.first, journey.end
    if journey.arrived:
        return Reached(journey.sender, first.destination, first.protocol, end.node, count)
    stop = _STOPS.get(end.fate, Stop.ICMP)
    if end.fate is Fate.REJECTED and end.answer is not None and end.answer.protocol == "tcp":
        stop = Stop.RESET
    return Stopped(journey.sender, first.destination, first.protocol, end.node, stop, count)
