"""Was an attempt that came to nothing made as its mechanism prescribes?  Asked of the wire.

No connection is what is predicted of many pairs, and what anybody gets who does not try.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

from testbed.evidence.account import WireAccount
from testbed.model.breach import TriedLittle
from testbed.model.contract import Failed, Offered
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Fate, Journey, Label
from testbed.model.packet import RST, SYN, Packet
from testbed.stacks.wire import Kind, decode

ASKED = 2  # questions to a server that is silent, at the least


class Tries(FrozenValue):
    """What an attempt consists of that nobody answers, at the least."""

    is_one: Callable[[Packet], bool]
    number: int
    seconds: float  # from the first to the last

    def within(self, share: float) -> "Tries":
        """Of an end that tries for a ``share`` of the time that is usual; two at the least."""
        number = max(2, math.ceil(self.number * share))
        return replace(self, number=number, seconds=self.seconds * share)


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

    A peer does it by an offer of what ``server`` told it, and so many ``tries`` towards what the
    other end has offered.  Before there were offers it asks ``server``, and an answer must not
    have come to it.
    """
    if account.start_ns is None:
        return list(unasked(account, senders, server))
    other = dict(zip(ends, reversed(ends), strict=True))
    found = []
    for node in senders:
        if withheld(account, node, server, _offered(account, node)):
            found.append(TriedLittle(node, 0, 0.0, answered=True))
            continue
        offered = _offered(account, other[node])
        times = [
            journey.first.time_ns
            for journey in account.sent(node)
            if journey.first.time_ns >= account.start_ns
            and tries.is_one(journey.first)
            and str(journey.first.destination) in offered
            and not expired(journey)
        ]
        seconds = (times[-1] - times[0]) / 1e9 if times else 0.0
        if len(times) < tries.number or seconds < tries.seconds:
            found.append(TriedLittle(node, len(times), seconds))
    return found


def expired(journey: Journey) -> bool:
    """Whether it was sent so as not to get far: its TTL ended on the way."""
    inward = journey.end.inward
    return not journey.arrived and inward is not None and inward.ttl <= 1


def withheld(account: WireAccount, node: str, server: str, offered: Collection[str]) -> bool:
    """Whether ``server`` told ``node`` mapped addresses, and it ``offered`` none of them.

    A private one that it has itself, as a server in its own network sees it, is of no use.
    """
    own = tuple(f"{one}:" for one in account.plan.addresses[node] if not one.is_global)
    mapped = {
        address
        for label in told_before_offer(account, node, server)
        if label.field("method") == "Binding" and label.field("class") == "success"
        if not (address := label.field("XOR-MAPPED-ADDRESS") or "").startswith(own)
    }
    return bool(mapped) and mapped.isdisjoint(offered)


def told_before_offer(account: WireAccount, node: str, server: str) -> Iterator[Label]:
    """What came to ``node`` from ``server`` before it made its offer."""
    made = (e.at for n, e in account.events or () if n == node and isinstance(e, Offered))
    at = next(made, None)
    until = None if at is None or account.clock_ns is None else at + account.clock_ns
    for journey in account.came(node):
        label = account.labels.get(journey.first.number)
        late = until is not None and journey.last.time_ns >= until
        if label is not None and not late and journey.sender == server:
            yield label


def _offered(account: WireAccount, node: str) -> set[str]:
    """Where ``node`` told the other end to send."""
    told = (one for name, one in account.events or () if name == node and isinstance(one, Offered))
    return {str(address) for one in told for address in one.offer.addresses}


def unasked(account: WireAccount, senders: Sequence[str], *servers: str) -> Iterator[TriedLittle]:
    """Who made no offer, and can blame none of the servers that it needed, nor the way to one."""
    offering = {name for name, event in account.events or () if isinstance(event, Offered)}
    for node in senders:
        if node in offering:
            continue
        found = [_question(account, node, server) for server in servers]
        if all(answered or tries < due for tries, due, answered in found):
            asked = sum(tries for tries, _, _ in found)
            yield TriedLittle(node, asked, 0.0, any(answered for _, _, answered in found))


def _question(account: WireAccount, node: str, server: str) -> tuple[int, int, bool]:
    """How often ``node`` asked ``server``, how often it had to, and whether it was answered."""
    asked = [j for j in account.sent(node) if _is_for(account, j, server)]
    due = 1 if _refused(account, node, asked, server) else ASKED
    until = _gave_up(account, node)
    places = {j.first.destination for j in asked if not j.first.tcp_flags & RST}
    answers = (  # from where it asked: else a NAT that hairpins has been passed by
        j.last
        for j in account.came(node)
        if j.sender == server and j.last.payload and (until is None or j.last.time_ns < until)
        if j.last.source in places
    )
    return len(asked), due, next(answers, None) is not None


def _refused(account: WireAccount, node: str, asked: Sequence[Journey], server: str) -> bool:
    """Whether somebody told ``node`` that it does not get to ``server``: it need not ask again."""
    resets = (
        journey
        for journey in account.came(node)
        if journey.last.tcp_flags & RST and account.plan.meant(journey.last.source) == server
    )
    rejected = any(journey.end.fate is Fate.REJECTED for journey in asked)
    return rejected or next(resets, None) is not None


def _is_for(account: WireAccount, journey: Journey, server: str) -> bool:
    return account.plan.meant(journey.first.destination) == server


def _gave_up(account: WireAccount, node: str) -> int | None:
    """When ``node`` said that it failed, in capture time."""
    if account.clock_ns is None:
        return None
    told = (one for name, one in account.events or () if name == node and isinstance(one, Failed))
    return next((one.at + account.clock_ns for one in told), None)
