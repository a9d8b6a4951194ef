"""Was an attempt that came to nothing made as its mechanism prescribes?  Asked of the wire.

No connection is what is predicted of many pairs, and what anybody gets who does not try.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from testbed.evidence.account import WireAccount
from testbed.model.breach import TriedLittle
from testbed.model.contract import Failed, Offered
from testbed.model.explanation import Journey
from testbed.model.packet import SYN, Packet
from testbed.stacks.wire import Kind, decode

ASKED = 2  # questions to a server that is silent, at the least


@dataclass(frozen=True)
class Tries:
    """What an attempt consists of that nobody answers, at the least."""

    is_one: Callable[[Packet], bool]
    number: int
    seconds: float  # from the first to the last


def is_probe(packet: Packet) -> bool:
    """A datagram with a frame that asks whether the way works."""
    frame = decode(packet.payload) if packet.protocol == "udp" else None
    return frame is not None and frame.kind is Kind.PROBE


def is_call(packet: Packet) -> bool:
    """A segment that opens a TCP connection, or answers the other end's.

    A host that a SYN has come to answers that one, and sends no SYN of its own on the same
    connection any more (RFC 9293 section 3.5).
    """
    return packet.protocol == "tcp" and bool(packet.tcp_flags & SYN)


def untried(
    account: WireAccount, senders: Sequence[str], ends: tuple[str, str], server: str, tries: Tries
) -> list[TriedLittle]:
    """Those of ``senders`` that did not do their part of an attempt that came to nothing.

    A peer does it by so many ``tries`` towards what the other end has offered.  Before there
    were offers it asks ``server``, and an answer must not have come to it.
    """
    if account.start_ns is None:
        return list(_unasked(account, senders, server))
    other = dict(zip(ends, reversed(ends), strict=True))
    found = []
    for node in senders:
        offered = _offered(account, other[node])
        times = [
            journey.first.time_ns
            for journey in account.sent(node)
            if journey.first.time_ns >= account.start_ns
            and tries.is_one(journey.first)
            and str(journey.first.destination) in offered
        ]
        seconds = (times[-1] - times[0]) / 1e9 if times else 0.0
        if len(times) < tries.number or seconds < tries.seconds:
            found.append(TriedLittle(node, len(times), seconds))
    return found


def _offered(account: WireAccount, node: str) -> set[str]:
    """Where ``node`` told the other end to send."""
    told = (one for name, one in account.events or () if name == node and isinstance(one, Offered))
    return {str(address) for one in told for address in one.offer.addresses}


def _unasked(account: WireAccount, senders: Sequence[str], server: str) -> Iterator[TriedLittle]:
    """Who made no offer, and cannot blame the server or the way to it."""
    for node in senders:
        if _offered(account, node):
            continue
        asked = [j.first for j in account.sent(node) if _is_for(account, j, server)]
        until = _gave_up(account, node)
        answers = (
            j.last
            for j in account.came(node)
            if j.sender == server and j.last.payload and (until is None or j.last.time_ns < until)
        )
        answered = next(answers, None) is not None
        if answered or len(asked) < ASKED:
            yield TriedLittle(node, len(asked), 0.0, answered)


def _is_for(account: WireAccount, journey: Journey, server: str) -> bool:
    return account.plan.meant(journey.first.destination) == server


def _gave_up(account: WireAccount, node: str) -> int | None:
    """When ``node`` said that it failed, in capture time."""
    if account.clock_ns is None:
        return None
    told = (one for name, one in account.events or () if name == node and isinstance(one, Failed))
    return next((one.at + account.clock_ns for one in told), None)
