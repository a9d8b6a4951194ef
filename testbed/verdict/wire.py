"""Which way did the echo go?  Read off journeys by the continuity of payloads.

NATs rewrite addresses and ports but leave a datagram's or segment's payload
alone, encrypted or not.  So the bytes that left one host and arrived at the other
are recognised by themselves, and the hosts that they passed on the way are seen:

- direct: the same payloads arrived at the other host, each followed there from the first
  across every NAT, and no third host saw them;
- relayed: a third host saw them pass, or took in and gave out as much of its own
  (a relay that encrypts anew);
- none: neither.  Where nothing but the length of its packets kept it, that is told, and by which
  way they were sent.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from testbed.evidence.account import WireAccount, is_whole
from testbed.evidence.echoes import tells, volume
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Journey
from testbed.model.judgement import WireReading
from testbed.model.outcome import Outcome
from testbed.model.path import (
    BytesMissing,
    NothingEchoed,
    PassedThrough,
    Swallowed,
    Traffic,
    Unfollowed,
    WentDirect,
)
from testbed.model.plan import AddNode, NodeKind, Plan
from testbed.model.window import Window

CITED = 8  # packets named as evidence


class _Way(FrozenValue):
    """How one direction of the echo went; ``unfollowed``: it arrived, and is not seen to go."""

    outcome: Outcome
    packets: tuple[int, ...]
    through: frozenset[str] = frozenset()
    unfollowed: bool = False
    swallowed: Swallowed | None = None


def read_path(account: WireAccount, dialer: str, listener: str) -> WireReading:
    """The way of the echo between two hosts, both directions.

    The account's window is None unless both peers claimed a connection: then nothing was
    echoed, and none is what the wire shows.  Otherwise each direction must show at least
    half of the window's bytes: a stray probe is no connection.  What comes back left the listener
    after the first had come to it.
    """
    window = account.window
    if window is None:
        return WireReading(Outcome.NONE, NothingEchoed())
    ways = [
        _one_way(account, dialer, listener, window),
        _one_way(account, listener, dialer, _answering(account, listener, window)),
    ]
    return _both(ways, dialer, listener, _traffic(window))


def _answering(account: WireAccount, listener: str, window: Window) -> Window:
    """The part of ``window`` in which there was something to send back.

    All of it, where peers do what they like and nobody answers.
    """
    came = (journey.last.time_ns for journey in _during(account.came(listener), window))
    return window if window.overhead else replace(window, start_ns=next(came, window.end_ns))


def _one_way(account: WireAccount, source: str, target: str, window: Window) -> _Way:
    sent, came = (
        list(_during(journeys, window)) for journeys in (account.sent(source), account.came(target))
    )
    left = {journey.first.payload for journey in sent}
    if not window.overhead:  # what had been sent before was not made for this
        left -= {j.first.payload for j in account.sent(source) if j.first.time_ns < window.start_ns}
    arrived = [journey for journey in came if journey.first.payload in left]
    if _volume(arrived, window) * 2 < window.size:
        relays = sorted(_hosts(account.plan) - {source, target})
        relayed = _by_volume(sent, came, relays, window)
        return relayed or _none(account, (source, target), relays, window)
    carried = {journey.first.payload for journey in arrived}
    cited = tuple(journey.last.number for journey in arrived[:CITED])
    through = frozenset(
        host
        for host in _hosts(account.plan) - {source, target}
        for journey in _during((*account.sent(host), *account.came(host)), window)
        if journey.first.payload in carried
    )
    if through:
        return _Way(Outcome.RELAYED, cited, through)
    whole = [journey for journey in arrived if journey.sender == source and is_whole(journey)]
    if _volume(whole, window) * 2 < window.size:
        return _Way(Outcome.NONE, cited, unfollowed=True)
    return _Way(Outcome.DIRECT, cited)


def _by_volume(
    sent: Sequence[Journey], came: Sequence[Journey], relays: Sequence[str], window: Window
) -> _Way | None:
    """A relay that wraps or encrypts anew: half goes in at one side, and comes out."""
    size = window.size // 2 + window.overhead
    for relay in relays:
        into = [journey for journey in sent if journey.arrived and journey.end.node == relay]
        out = [journey for journey in came if journey.sender == relay]
        if _volume(into, window) >= size and _volume(out, window) >= size:
            half = CITED // 2
            cited = [j.first.number for j in into[:half]] + [j.last.number for j in out[:half]]
            return _Way(Outcome.RELAYED, tuple(cited), frozenset({relay}))
    return None


def _none(
    account: WireAccount, ends: tuple[str, str], relays: Sequence[str], window: Window
) -> _Way:
    """The bytes did not arrive; perhaps since each packet that is missing was too long."""
    (source, target), plan = ends, account.plan
    near = {*plan.topology.around(target)}
    for sender in (source, *relays):
        began = (j for j in account.sent(sender) if window.start_ns <= j.first.time_ns)
        missing = [j for j in began if not j.arrived and tells(j.first.payload, window)]
        if sender != source:
            missing = [j for j in missing if plan.meant(j.first.destination) in near]
        bounds = {account.swallowed_over(journey) for journey in missing}
        bound = next(iter(bounds - {None}), None)
        if bound is None or None in bounds:
            continue
        direct = sender == source and plan.meant(missing[0].first.destination) in near
        if direct and not _met(account, ends):
            continue
        by = Outcome.DIRECT if direct else Outcome.RELAYED
        told = Swallowed(_traffic(window), source, target, by, bound)
        cited = tuple(journey.last.number for journey in missing[:CITED])
        return _Way(Outcome.NONE, cited, swallowed=told)
    return _Way(Outcome.NONE, ())


def _met(account: WireAccount, ends: tuple[str, str]) -> bool:
    """Whether packets of each have come to the other."""
    return all(
        any(journey.sender == source for journey in account.came(target))
        for source, target in (ends, ends[::-1])
    )


def _traffic(window: Window) -> Traffic:
    return Traffic.CONNECTION if window.overhead else Traffic.ECHO


def _both(ways: Sequence[_Way], dialer: str, listener: str, traffic: Traffic) -> WireReading:
    there, back = ways
    cited = tuple(sorted({*there.packets, *back.packets}))
    seen = {there.outcome, back.outcome}
    lost = [
        (source, target)
        for way, source, target in ((there, dialer, listener), (back, listener, dialer))
        if way.unfollowed
    ]
    if lost:
        return WireReading(Outcome.NONE, Unfollowed(traffic, *lost[0]), cited)
    if told := next((way.swallowed for way in ways if way.swallowed), None):
        return WireReading(Outcome.NONE, told, cited)
    if Outcome.NONE in seen:
        back_only = there.outcome is not Outcome.NONE
        ends = (listener, dialer) if back_only else (dialer, listener)
        return WireReading(Outcome.NONE, BytesMissing(traffic, *ends, back_only), cited)
    if Outcome.RELAYED in seen:
        nodes = tuple(sorted(there.through | back.through))
        return WireReading(Outcome.RELAYED, PassedThrough(traffic, nodes), cited)
    return WireReading(Outcome.DIRECT, WentDirect(traffic, dialer, listener), cited)


def _hosts(plan: Plan) -> set[str]:
    return {step.node for step in plan.of(AddNode) if step.kind is NodeKind.HOST}


def _during(journeys: Iterable[Journey], window: Window) -> Iterator[Journey]:
    """Those that may prove something, and were under way within the window alone."""
    for journey in journeys:
        within = window.start_ns <= journey.first.time_ns and journey.last.time_ns <= window.end_ns
        if within and tells(journey.first.payload, window):
            yield journey


def _volume(journeys: Iterable[Journey], window: Window) -> int:
    return volume((journey.first.payload for journey in journeys), window)
