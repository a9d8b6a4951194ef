"""Which way did the echo go?  Read off the capture by the continuity of payloads.

NATs rewrite addresses and ports but leave a datagram's or segment's payload
alone, encrypted or not.  So the bytes that left one host and arrived at the other
are recognised by themselves, and the hosts that they passed on the way are seen:

- direct: the same payloads arrived at the other host, and no third host saw them;
- relayed: a third host saw them pass, or took in and gave out as much of its own
  (a relay that encrypts anew);
- none: neither.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from testbed.model.judgement import WireReading
from testbed.model.outcome import Outcome
from testbed.model.packet import Packet
from testbed.model.path import BytesMissing, NothingEchoed, PassedThrough, Traffic, WentDirect
from testbed.model.plan import AddNode, NodeKind, Plan
from testbed.model.window import Window

CITED = 8  # packets named as evidence


@dataclass(frozen=True)
class _Way:
    """How one direction of the echo went."""

    outcome: Outcome
    packets: tuple[int, ...]
    through: frozenset[str] = frozenset()


def read_path(
    packets: Sequence[Packet], plan: Plan, dialer: str, listener: str, window: Window | None
) -> WireReading:
    """The way of the echo between two hosts, both directions.

    ``window`` is None unless both peers claimed a connection: then nothing was echoed,
    and none is what the wire shows.  Otherwise each direction must show at least
    half of ``window.size`` bytes: a stray probe is no connection.
    """
    if window is None:
        return WireReading(Outcome.NONE, NothingEchoed())
    during = [
        packet
        for packet in packets
        if window.start_ns <= packet.time_ns <= window.end_ns
        and len(packet.payload) >= window.shortest
    ]
    ways = [
        _one_way(during, plan, source, target, window)
        for source, target in ((dialer, listener), (listener, dialer))
    ]
    return _both(ways, dialer, listener, Traffic.CONNECTION if window.overhead else Traffic.ECHO)


def _one_way(
    packets: Sequence[Packet], plan: Plan, source: str, target: str, window: Window
) -> _Way:
    left = {p.payload for p in packets if p.outgoing and p.node == source}
    arrived = [p for p in packets if not p.outgoing and p.node == target and p.payload in left]
    if _volume(arrived) * 2 >= window.size:
        carried = {packet.payload for packet in arrived}
        hosts = _hosts(plan) - {source, target}
        through = frozenset(p.node for p in packets if p.node in hosts and p.payload in carried)
        outcome = Outcome.RELAYED if through else Outcome.DIRECT
        return _Way(outcome, tuple(p.number for p in arrived[:CITED]), through)
    return _by_volume(packets, plan, source, target, window.size // 2 + window.overhead)


def _by_volume(packets: Sequence[Packet], plan: Plan, source: str, target: str, size: int) -> _Way:
    """A relay that wraps or encrypts anew: ``size`` goes in at one side, and comes out."""
    for relay in sorted(_hosts(plan) - {source, target}):
        addresses = set(plan.addresses[relay])
        into = [
            p
            for p in packets
            if p.outgoing and p.node == source and p.destination.address in addresses
        ]
        out = [
            p
            for p in packets
            if not p.outgoing and p.node == target and p.source.address in addresses
        ]
        if _volume(into) >= size and _volume(out) >= size:
            cited = tuple(p.number for p in [*into[: CITED // 2], *out[: CITED // 2]])
            return _Way(Outcome.RELAYED, cited, frozenset({relay}))
    return _Way(Outcome.NONE, ())


def _both(ways: Sequence[_Way], dialer: str, listener: str, traffic: Traffic) -> WireReading:
    there, back = ways
    cited = tuple(sorted({*there.packets, *back.packets}))
    seen = {there.outcome, back.outcome}
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


def _volume(packets: Iterable[Packet]) -> int:
    """Bytes of distinct payloads: retransmissions count once."""
    return sum(len(payload) for payload in {packet.payload for packet in packets})
