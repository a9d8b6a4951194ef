"""Which packet answers which: STUN and the like by transaction, TCP by its numbers.

"answer to #n" is said of n that had been seen, as far as it came, before the answer left.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence

from testbed.evidence.protocols import punch
from testbed.evidence.protocols.notes import Arrivals, Labels, noted
from testbed.model.journey import Journey, Label, NoteKind
from testbed.model.packet import ACK, RST, SYN, Packet, Quoted

_MODULO = 1 << 32
_LAYERS = ("", "carried ")  # fields of a STUN message, and of one that TURN carries
_OF_RESPONSES = ("result", "rcode")  # fields of theirs alone
_PAIRED = frozenset({"nat-pmp", "pcp", "dns"})  # one request at a time between two ports


def answers(journeys: Sequence[Journey], read: Mapping[int, Label]) -> Labels:
    """The labels of answers, with what each answers."""
    arrivals = Arrivals()
    for journey in journeys:
        for key in _questions(journey.last, read[journey.first.number]):
            arrivals.add((journey.last.node, key), journey)
    quotable = _Quotable(journeys)
    changed: Labels = {}
    for journey in journeys:
        packet = journey.first
        label = read[packet.number]
        if packet.quoted is not None:
            asked = quotable.find(packet.quoted, packet.time_ns)
        else:
            key = _answer(packet, label)
            asked = arrivals.before((journey.sender, key), packet.time_ns) if key else None
        if asked is not None:
            number = f"#{asked.first.number}"
            changed[packet.number] = noted(
                label, f"answer to {number}", ("answers", number), kind=NoteKind.ANSWER
            )
    return changed


def _questions(packet: Packet, label: Label) -> Iterator[Hashable]:
    """As what ``packet``, where it was last seen, can be answered."""
    ends = (packet.source, packet.destination)
    if packet.protocol == "tcp":
        if packet.is_syn:
            yield "syn", (packet.tcp_seq + 1) % _MODULO, ends
        elif packet.tcp_flags & ACK and not packet.tcp_flags & RST:
            yield "ack", packet.tcp_ack, ends
    if label.protocol in ("stun", "turn"):
        for layer in _LAYERS:
            if label.field(f"{layer}class") == "request":
                yield label.field(f"{layer}transaction")
    elif label.protocol == "punch" and label.field("kind") in punch.QUESTIONS:
        yield "punch", label.field("number"), ends
    elif label.protocol in _PAIRED:
        yield label.protocol, ends


def _answer(packet: Packet, label: Label) -> Hashable | None:
    """The key of the question that ``packet`` answers, if it is an answer."""
    ends = (packet.destination, packet.source)
    if label.protocol in ("stun", "turn"):
        for layer in _LAYERS:
            if label.field(f"{layer}class") in ("success", "error"):
                return label.field(f"{layer}transaction")
    elif label.protocol == "punch":
        if label.field("kind") in punch.ANSWERS:
            return "punch", label.field("number"), ends
    elif label.protocol in _PAIRED:
        responds = any(label.field(name) is not None for name in _OF_RESPONSES)
        return (label.protocol, ends) if responds else None
    elif packet.protocol == "tcp":
        return _segment_answer(packet, ends)
    return None


def _segment_answer(packet: Packet, ends: Hashable) -> Hashable | None:
    """RFC 9293 sections 3.5 and 3.10.7.1: what a SYN-ACK acknowledges, why there is a RST."""
    flags = packet.tcp_flags
    if flags & RST:
        return ("syn", packet.tcp_ack, ends) if flags & ACK else ("ack", packet.tcp_seq, ends)
    if flags & SYN:
        return ("syn", packet.tcp_ack, ends) if flags & ACK else None
    return None


class _Quotable:
    """Finds the packet that an ICMP error quotes, as it was at any place of its way."""

    def __init__(self, journeys: Sequence[Journey]) -> None:
        ids = {j.first.quoted.ip_id for j in journeys if j.first.quoted is not None}
        self._arrivals = Arrivals()
        for journey in journeys:
            if journey.first.ip_id not in ids:
                continue  # a router leaves the id alone
            sights = (p for hop in journey.hops for p in (hop.inward, hop.outward) if p)
            for key in {(p.protocol, p.ip_id, p.source, p.destination) for p in sights}:
                self._arrivals.add(key, journey)

    def find(self, quoted: Quoted, time_ns: int) -> Journey | None:
        key = (quoted.protocol, quoted.ip_id, quoted.source, quoted.destination)
        return self._arrivals.before(key, time_ns)
