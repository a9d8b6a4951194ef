"""Which way did the echo go?  Read off journeys by the continuity of payloads.

NATs rewrite addresses and ports but leave a datagram's or segment's payload
alone, encrypted or not.  So the bytes that left one host and arrived at the other
are recognised by themselves, and the hosts that they passed on the way are seen:

- direct: the same payloads arrived at the other host, each followed there from the first
  across every NAT, and no third host saw them;
- relayed: a third host saw them pass, or took in and gave out as much of its own
  (a relay that encrypts anew);
- none: neither.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from testbed.evidence.account import WireAccount, is_whole
from testbed.evidence.echoes import tells
from testbed.model.explanation import Journey
from testbed.model.judgement import WireReading
from testbed.model.outcome import Outcome
from testbed.model.path import (
    BytesMissing,
    NothingEchoed,
    PassedThrough,
    Traffic,
    Unfollowed,
    WentDirect,
)
from testbed.model.plan import AddNode, NodeKind, Plan
from testbed.model.window import Window

CITED = 8  # packets named as evidence


@dataclass(frozen=True)
class _Way:
    """How one direction of the echo went; ``unfollowed``: it arrived, and is not seen to go."""

    outcome: Outcome
    packets: tuple[int, ...]
    through: frozenset[str] = frozenset()
    unfollowed: bool = False


def read_path(account: WireAccount, dialer: str, listener: str) -> WireReading:
    """The way of the echo between two hosts, both directions.

    The account's window is None unless both peers claimed a connection: then nothing was
    echoed, and none is what the wire shows.  Otherwise each direction must show at least
    half of the window's bytes: a stray probe is no connection.
    """
    window = account.window
    if window is None:
        return WireReading(Outcome.NONE, NothingEchoed())
    ways = [
        _one_way(account, source, target, window)
        for source, target in ((dialer, listener), (listener, dialer))
    ]
    return _both(ways, dialer, listener, Traffic.CONNECTION if window.overhead else Traffic.ECHO)


def _one_way(account: WireAccount, source: str, target: str, window: Window) -> _Way:
    sent, came = (
        list(_during(journeys, window)) for journeys in (account.sent(source), account.came(target))
    )
    left = {journey.first.payload for journey in sent}
    arrived = [journey for journey in came if journey.first.payload in left]
    if _volume(arrived) * 2 < window.size:
        relays = sorted(_hosts(account.plan) - {source, target})
        return _by_volume(sent, came, relays, window.size // 2 + window.overhead)
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
    if _volume(whole) * 2 < window.size:
        return _Way(Outcome.NONE, cited, unfollowed=True)
    return _Way(Outcome.DIRECT, cited)


def _by_volume(
    sent: Sequence[Journey], came: Sequence[Journey], relays: Sequence[str], size: int
) -> _Way:
    """A relay that wraps or encrypts anew: ``size`` goes in at one side, and comes out."""
    for relay in relays:
        into = [journey for journey in sent if journey.arrived and journey.end.node == relay]
        out = [journey for journey in came if journey.sender == relay]
        if _volume(into) >= size and _volume(out) >= size:
            half = CITED // 2
            cited = [j.first.number for j in into[:half]] + [j.last.number for j in out[:half]]
            return _Way(Outcome.RELAYED, tuple(cited), frozenset({relay}))
    return _Way(Outcome.NONE, ())


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


def _volume(journeys: Iterable[Journey]) -> int:
    """Bytes of distinct payloads: retransmissions count once."""
    return sum(len(payload) for payload in {journey.first.payload for journey in journeys})
