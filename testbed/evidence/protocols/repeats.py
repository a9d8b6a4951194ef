"""What was sent again: numbered, with the number of the packet that it repeats."""

from collections.abc import Hashable, Mapping, Sequence

from testbed.evidence.protocols import quic
from testbed.evidence.protocols.notes import Labels, noted
from testbed.model.journey import Journey, Label, NoteKind
from testbed.model.packet import ACK, FIN, RST, SYN

_WHOLE = frozenset({"nat-pmp", "pcp", "dns", "ssdp"})  # repeated byte by byte


def repeats(journeys: Sequence[Journey], read: Mapping[int, Label]) -> Labels:
    """The labels of repetitions.  ``journeys`` in order of time."""
    first: dict[Hashable, tuple[int, int]] = {}  # the first one's number, times it was repeated
    changed: Labels = {}
    for journey in journeys:
        packet = journey.first
        label = read[packet.number]
        key = _key(journey, label)
        if key is None:
            continue
        key = (journey.sender, packet.source, packet.destination, key)
        number, count = first.get(key, (packet.number, -1))
        first[key] = (number, count + 1)
        if count >= 0:
            text = f"retransmission {count + 1} of #{number}"
            if label.protocol == "quic":  # it sends a lost packet's frames in a new packet
                text = f"again after #{number} ({count + 1})"
            fields = (("repeats", f"#{number}"), ("repetition", str(count + 1)))
            changed[packet.number] = noted(label, text, *fields, kind=NoteKind.AGAIN)
    return changed


def _key(journey: Journey, label: Label) -> Hashable | None:
    """What a repetition has in common with the first, besides sender and addresses.

    TCP: the sequence number of a segment that takes up some (RFC 9293 section 3.4).
    STUN: the transaction (RFC 8489 section 6.2.1).  QUIC: the connection ids of a client's
    Initials, which are the same until a server answers (RFC 9000 section 7.2).
    """
    packet = journey.first
    if packet.protocol == "tcp":
        flags = packet.tcp_flags
        if flags & RST or not (flags & (SYN | FIN) or packet.payload):
            return None
        # A simultaneous open's SYN-ACK has its SYN's number and repeats nothing.
        return packet.tcp_seq, flags & (SYN | ACK) if flags & SYN else 0, bool(packet.payload)
    if label.protocol in ("stun", "turn"):
        return label.field("class"), label.field("transaction")
    if label.protocol == "quic" and quic.is_initial(label) and not label.notes:
        return label.field("DCID"), label.field("SCID")
    return packet.payload if label.protocol in _WHOLE else None
