"""Relay and DCUtR (libp2p relay/circuit-v2.md, relay/DCUtR.md), whose messages are encrypted.

What a packet says is told by the peers: a packet is tied to a step by its time, to the
relay and back, as `testbed.verdict.upgrade` does.  So the labels say who told.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from testbed.evidence.clocks import SLACK_NS, STAMPED_NS
from testbed.evidence.protocols import quic
from testbed.evidence.protocols.notes import Labels, noted
from testbed.model.contract import (
    Connected,
    Event,
    Observed,
    Offered,
    Path,
    Reserved,
    Step,
    StepName,
)
from testbed.model.journey import Journey, Label
from testbed.model.packet import Endpoint, Packet

# What else goes to and from a relay is shorter: Yamux's own frames within Noise (30 bytes),
# QUIC's acknowledgements (33); a RESERVE barely exceeds them, a CONNECT carries a peer id.
LEAST = 60  # bytes
LEAST_RESERVE = {"tcp": 31, "udp": 34}
_NEVER = 1 << 63
_DONE = frozenset({StepName.FAILED, StepName.CONNECT_SENT, StepName.RELAY_LEFT})
_MESSAGES = {  # what was sent -> what the other side says of it, and its name
    StepName.CONNECT_SENT: (StepName.CONNECT_RECEIVED, "CONNECT"),
    StepName.SYNC_SENT: (StepName.SYNC_RECEIVED, "SYNC"),
}


class _Told(NamedTuple):
    """An event, with its time in the capture's clock."""

    node: str
    time_ns: int
    event: Event


def dcutr(
    journeys: Sequence[Journey],
    read: Mapping[int, Label],
    events: Iterable[tuple[str, Event]],
    clock_ns: int | None,
) -> Labels:
    """The labels of packets that belong to a reservation, a circuit, or a step of an upgrade.

    ``journeys`` in order of time; ``clock_ns`` as in `testbed.model.explanation.Evidence`.
    """
    told = _told(events, clock_ns)
    relays = {
        Endpoint(t.event.relay.address, t.event.relay.port)
        for t in told
        if isinstance(t.event, Reserved) and t.event.circuit is not None
    }
    if not relays:
        return {}
    legs = _Legs(journeys, relays)
    notes: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
    found = (
        *_reservations(legs, told),
        *_circuits(legs, told),
        *_messages(legs, told),
        *_leaving(legs, told),
        *_punches(journeys, read, relays, told),
    )
    for journey, text, name, value in found:
        notes[journey.first.number].append((text, name, value))
    changed: Labels = {}
    for number, said in notes.items():
        label = read[number]
        for text, name, value in said:
            label = noted(label, text, (name, value))
        changed[number] = label
    return changed


_Note = tuple[Journey, str, str, str]  # text, and a field


def _told(events: Iterable[tuple[str, Event]], clock_ns: int | None) -> list[_Told]:
    """Events in order; steps bring their own time, and with it the clock where it is lacking."""
    said = list(events)
    steps = [event for _, event in said if isinstance(event, Step)]
    if clock_ns is None and steps:
        clock_ns = steps[0].realtime - steps[0].at
    found = []
    for node, event in said:
        if isinstance(event, Step):
            found.append(_Told(node, event.realtime, event))
        elif clock_ns is not None:
            found.append(_Told(node, event.at + clock_ns, event))
    return sorted(found, key=lambda told: told.time_ns)


def _steps(told: Sequence[_Told]) -> list[tuple[_Told, Step]]:
    return [(one, one.event) for one in told if isinstance(one.event, Step)]


class _Legs:
    """Payloads between peers and relays: as they left a node, as they arrived at one."""

    def __init__(self, journeys: Sequence[Journey], relays: set[Endpoint]) -> None:
        self._up: dict[str, list[Journey]] = defaultdict(list)
        self._down: dict[str, list[Journey]] = defaultdict(list)
        for journey in journeys:
            packet = journey.first
            if (
                len(packet.payload) < LEAST_RESERVE.get(packet.protocol, LEAST)
                or not journey.arrived
            ):
                continue
            if packet.destination in relays:
                self._up[journey.sender].append(journey)
            elif journey.last.source in relays:  # a relay behind a NAT sends from elsewhere
                self._down[journey.end.node].append(journey)
        for down in self._down.values():
            down.sort(key=_there)

    def sent(self, node: str, since_ns: int, until_ns: int) -> Journey | None:
        """The first to the relay that left ``node`` in this time."""
        up = self._up.get(node, [])
        within = up[bisect_left(up, since_ns, key=_left) : bisect_right(up, until_ns, key=_left)]
        return next(filter(_weighs, within), None)

    def reached_relay(self, node: str, before_ns: int, light: bool = False) -> Journey | None:
        """The last from ``node`` that was at the relay by then; a ``light`` one will do?"""
        up = self._up.get(node, [])
        earlier = up[: bisect_right(up, before_ns, key=_left)]
        there = (j for j in reversed(earlier) if _there(j) <= before_ns)
        return next((j for j in there if light or _weighs(j)), None)

    def received(self, node: str, since_ns: int, until_ns: int) -> Journey | None:
        """The last from the relay that arrived at ``node`` in this time."""
        down = self._down.get(node, [])
        first, end = (bisect_left(down, at, key=_there) for at in (since_ns, until_ns + 1))
        return next(filter(_weighs, reversed(down[first:end])), None)

    def given(self, node: str, since_ns: int, until_ns: int) -> Iterator[Journey]:
        """Those from the relay that left it for ``node`` in this time."""
        down = filter(_weighs, self._down.get(node, []))
        return (j for j in down if since_ns <= _left(j) <= until_ns)


def _weighs(journey: Journey) -> bool:
    return len(journey.first.payload) >= LEAST


def _left(journey: Journey) -> int:
    return journey.first.time_ns


def _there(journey: Journey) -> int:
    return journey.last.time_ns


def _reservations(legs: _Legs, told: Sequence[_Told]) -> Iterator[_Note]:
    """The answer that a peer's ``reserved`` followed, and what was at the relay before it."""
    for one in told:
        if not isinstance(one.event, Reserved) or one.event.circuit is None:
            continue
        by = f"{one.node}'s reserved"
        answer = legs.received(one.node, one.time_ns - SLACK_NS, one.time_ns)
        if answer is None:
            continue
        yield answer, "relay: reservation accepted", "told by", by
        request = legs.reached_relay(one.node, _left(answer), light=True)
        if request is not None:
            yield request, "relay: RESERVE", "told by", by


def _circuits(legs: _Legs, told: Sequence[_Told]) -> Iterator[_Note]:
    """CONNECT to the relay, from there to the listener, and the relayed connection at last.

    The relay is quiet once both have made their offers: its first message to the listener
    right after one of the dialer's reached it is the circuit's.
    """
    offered = [one.time_ns for one in told if isinstance(one.event, Offered)]
    listeners = {one.node for one in told if isinstance(one.event, Reserved)}
    for one in told:
        connected = one.event
        if not isinstance(connected, Connected) or connected.path is not Path.RELAYED:
            continue
        if one.node in listeners or not offered:
            continue
        by = f"{one.node}'s connected"
        for listener in sorted(listeners):
            for hop, stop in _asked(legs, one, listener, offered[-1]):
                yield hop, f"relay: CONNECT to {listener}", "told by", by
                yield stop, f"relay: CONNECT from {one.node}", "told by", by
        up = legs.received(one.node, one.time_ns - SLACK_NS, one.time_ns)
        if up is not None:
            yield up, "relayed connection is up", "told by", by


def _asked(
    legs: _Legs, dialer: _Told, listener: str, since_ns: int
) -> Iterator[tuple[Journey, Journey]]:
    """The dialer's CONNECT and the relay's, if they are found."""
    for stop in legs.given(listener, since_ns, dialer.time_ns):
        hop = legs.reached_relay(dialer.node, _left(stop))
        if hop and _left(hop) >= since_ns and _left(stop) - _there(hop) <= SLACK_NS:
            yield hop, stop
            return


def _messages(legs: _Legs, told: Sequence[_Told]) -> Iterator[_Note]:
    """CONNECT and SYNC of DCUtR, on their way to the relay and on from there."""
    steps = _steps(told)
    for one, step in steps:
        if step.name not in _MESSAGES:
            continue
        answer, word = _MESSAGES[step.name]
        heard = next(
            (
                other
                for other, heard in steps
                if other.node != one.node and (heard.name, heard.attempt) == (answer, step.attempt)
            ),
            None,
        )
        target = heard.node if heard else "the other"
        text = f"DCUtR {word} {step.attempt}, {one.node} to {target}"
        first = legs.sent(one.node, one.time_ns - STAMPED_NS, one.time_ns + SLACK_NS)
        if first is not None:
            yield first, text, "told by", f"{one.node}'s {step.name.value}"
        if heard is None:
            continue
        since = _there(first) if first else one.time_ns
        second = legs.received(heard.node, since, heard.time_ns)
        if second is not None:
            yield second, text, "told by", f"{heard.node}'s {answer.value}"


def _leaving(legs: _Legs, told: Sequence[_Told]) -> Iterator[_Note]:
    """What a peer sent to the relay when it left the relayed connection."""
    for one, step in _steps(told):
        if step.name is not StepName.RELAY_LEFT:
            continue
        last = legs.sent(one.node, one.time_ns - STAMPED_NS, one.time_ns + SLACK_NS)
        if last is not None:
            text = f"relayed connection closed by {one.node}"
            yield last, text, "told by", f"{one.node}'s relay_left"


def _punches(
    journeys: Sequence[Journey],
    read: Mapping[int, Label],
    relays: set[Endpoint],
    told: Sequence[_Told],
) -> Iterator[_Note]:
    """What opens a connection, or a hole, from a peer's ``punching`` to the attempt's end."""
    public = {relay.address for relay in relays}
    public |= {one.event.server.address for one in told if isinstance(one.event, Observed)}
    spans = list(_spans(told))
    for journey in journeys:
        packet = journey.first
        if packet.destination.address in public or not _opens(packet, read[packet.number]):
            continue
        for node, attempt, since, until in spans:
            if node == journey.sender and since - STAMPED_NS <= packet.time_ns < until:
                yield journey, f"punch of attempt {attempt}", "told by", f"{node}'s punching"
                break


def _opens(packet: Packet, label: Label) -> bool:
    """A SYN, a client's first Initial (again), or a punch datagram."""
    if packet.protocol == "tcp":
        return packet.is_syn
    first_flight = label.protocol == "quic" and label.field("packet") == "Initial"
    alone = quic.is_initial(label) and label.field("answers") is None
    return label.protocol == "punch" or (first_flight and alone)


def _spans(told: Sequence[_Told]) -> Iterator[tuple[str, int, int, int]]:
    """Node, attempt, and between when it was punching."""
    steps = _steps(told)
    for index, (one, step) in enumerate(steps):
        if step.name is StepName.PUNCHING:
            later = steps[index + 1 :]
            ends = (o.time_ns for o, s in later if o.node == one.node and s.name in _DONE)
            yield one.node, step.attempt, one.time_ns, next(ends, _NEVER)
