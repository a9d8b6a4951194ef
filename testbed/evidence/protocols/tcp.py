"""TCP segments: flags, and what is in clear of their payloads (RFC 9293 section 3.1)."""

from dataclasses import replace

from testbed.evidence.protocols import multistream, punch, turn, upnp
from testbed.evidence.protocols.frames import Framing, frames, joined
from testbed.model.journey import Label, Weight
from testbed.model.packet import ACK, FIN, RST, SYN, Packet

_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
_NAMED = tuple(
    " ".join(name for bit, name in enumerate(_FLAGS) if flags >> bit & 1) or "none"
    for flags in range(256)
)
_FRAMINGS: tuple[Framing, ...] = (turn.frame, punch.frame, multistream.frame)


def read(packet: Packet) -> Label:
    """Any segment.  The protocol is the payload's where that is known, otherwise "tcp"."""
    fields = (("flags", _NAMED[packet.tcp_flags & 0xFF]),)
    if not packet.payload:
        text = control(packet.tcp_flags) or "ACK"
        return Label("tcp", text, fields, weight=_weight(packet.tcp_flags))
    said = payload(packet.payload) or data(len(packet.payload))
    return replace(controlled(packet.tcp_flags, said), fields=said.fields + fields)


def controlled(flags: int, said: Label) -> Label:
    """What a segment says, with what its flags do."""
    text = control(flags)
    if not text:
        return said
    weight = max(_weight(flags), Weight.TELLING if said.filler else said.weight)
    own = f"{text} + {said.own}"
    return replace(said, own=own, weight=weight, filler=False, sealed=False)


def _weight(flags: int) -> Weight:
    """Of what the flags do: that a connection ends in order is worth nothing."""
    ends = flags & FIN and not flags & (RST | SYN)
    return Weight.NOTHING if ends else Weight.TELLING


def control(flags: int) -> str:
    """What the flags of a segment do to the connection; "" if nothing."""
    if flags & RST:
        return "RST"
    if flags & SYN:
        return "SYN-ACK" if flags & ACK else "SYN"
    return "FIN" if flags & FIN else ""


def data(size: int) -> Label:
    """A payload that says nothing in clear."""
    length = (("length", str(size)),)
    return Label("tcp", f"data, {size} bytes", length, weight=Weight.USUAL, filler=True)


def payload(content: bytes) -> Label | None:
    """What a segment's payload says by itself; None if that is nothing known.

    ChannelData has no magic number.  So it is believed only where the messages end with
    the segment: chance makes one in some 10^6 segments look so.
    """
    for framing in _FRAMINGS:
        labels, end = frames(content, framing)
        if not labels:
            continue
        if turn.is_channel_data(labels[0]) and end != len(content):
            continue
        label = joined(labels)
        left = len(content) - end
        return replace(label, own=f"{label.own} + {left} bytes") if left > 0 else label
    return upnp.read(content)
