"""How much a packet is worth on a diagram, and which packets say the same."""

import re
from dataclasses import replace
from enum import IntEnum

from testbed.model.journey import Fate, Journey, Label, LabelNote, NoteKind, Weight
from testbed.model.packet import ACK, FIN, RST, SYN, Packet


class Worth(IntEnum):
    """What is shown where there is not room for all, best first."""

    TROUBLE = 0  # it did not arrive
    OPENING = 1  # it opens, ends or refuses a connection
    EXCHANGE = 2
    USUAL = 3  # payload, and what is done alike in every run
    NOTHING = 4  # nobody wants to see it


GONE = (Fate.DROPPED, Fate.REJECTED, Fate.LOST, Fate.TAKEN)
_UNDERWAY = (Fate.SENT, Fate.FORWARDED, Fate.TRANSLATED)  # when the capture ended

# A number that is no part of an address: of an attempt, a repeat, a size, a packet.
_NUMBER = re.compile(r"(?<![\w.:#])#?\d+(?![\w.:])")


def worth(journey: Journey, label: Label) -> Worth:
    """Of one packet, by what it says and how it fared; whether it decided is not asked."""
    first = journey.first
    if first.protocol == "other" or journey.end.fate in _UNDERWAY:
        return Worth.NOTHING
    if journey.end.fate in GONE:
        return Worth.USUAL if _bare(first, ACK) else Worth.TROUBLE
    if _bare(first, ACK) or label.weight is Weight.NOTHING:
        return Worth.NOTHING
    if label.weight is Weight.USUAL and not (label.sealed and _about(label)):
        return Worth.USUAL
    if first.protocol == "icmp" or first.tcp_flags & (SYN | RST):
        return Worth.OPENING
    return Worth.EXCHANGE


def words(label: Label) -> str:
    """A label's text for a diagram, where an arrow back is an answer by itself."""
    about = _about(label)
    own = () if label.sealed and about else (label.own,)
    return ", ".join([*own, *(note.text for note in about)])


def alike(label: Label) -> str:
    """The same for labels that say the same again: in a retransmission, another attempt."""
    return _NUMBER.sub("n", words(replace(label, notes=_about(label, again=False))))


def _about(label: Label, *, again: bool = True) -> tuple[LabelNote, ...]:
    """What was added, but for what it answers."""
    kinds = (NoteKind.AGAIN, NoteKind.CONTEXT) if again else (NoteKind.CONTEXT,)
    return tuple(note for note in label.notes if note.kind in kinds)


def _bare(packet: Packet, flag: int) -> bool:
    """A segment that has this one flag, and nothing to say."""
    flags = packet.tcp_flags & (ACK | SYN | FIN | RST)
    return packet.protocol == "tcp" and flags == flag and not packet.payload
