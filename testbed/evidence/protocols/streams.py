"""TCP payloads as streams: messages that span segments, and Noise behind multistream-select."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from testbed.evidence.protocols import multistream, punch, tcp, turn
from testbed.evidence.protocols.frames import Framing, frames, joined
from testbed.evidence.protocols.notes import Labels
from testbed.model.journey import Journey, Label, Weight
from testbed.model.packet import SYN, Endpoint

_Key = tuple[str, Endpoint, Endpoint]
_FRAMINGS: dict[str, Framing] = {
    "stun": turn.frame,
    "turn": turn.frame,
    "punch": punch.frame,
    "multistream": multistream.frame,
}


def streams(journeys: Sequence[Journey], read: Mapping[int, Label]) -> Labels:
    """The labels of segments that are understood from what came before them.

    ``journeys`` in order of time.  A segment that is out of order is left as it is.
    """
    directions: dict[_Key, _Direction] = {}
    changed: Labels = {}
    for journey in journeys:
        packet = journey.first
        if packet.protocol != "tcp":
            continue
        key = (journey.sender, packet.source, packet.destination)
        if packet.tcp_flags & SYN:
            directions[key] = _Direction((packet.tcp_seq + 1) % 2**32)
        if not packet.payload:
            continue
        direction = directions.setdefault(key, _Direction(packet.tcp_seq))
        label = read[packet.number]
        said = direction.feed(packet.tcp_seq, packet.payload, label)
        if said is not None:
            said = tcp.controlled(packet.tcp_flags, said)
            flags = ("flags", label.field("flags") or "")
            changed[packet.number] = replace(said, fields=(*said.fields, flags))
    return changed


@dataclass
class _Direction:
    """What is known of one direction of a connection after the bytes so far."""

    expected: int  # sequence number
    framing: Framing | None = None
    owed: int = 0  # bytes of a message that has begun
    protocol: str = "tcp"  # of that message
    noise: "_Noise | None" = None  # once it was agreed on

    def feed(self, seq: int, payload: bytes, label: Label) -> Label | None:
        """What ``payload`` says here; None if no more than ``label``, which it says by itself."""
        if seq != self.expected:
            if (seq - self.expected) % 2**32 < 2**31:  # a gap: we do not know where we are
                self._follow(seq, payload)
            return None
        self.expected = (seq + len(payload)) % 2**32
        if self.framing is None and self.noise is None:
            self.framing = _FRAMINGS.get(label.protocol)
        if self.framing is None and self.noise is None:
            return None
        return self._read(payload)

    def _follow(self, seq: int, payload: bytes) -> None:
        self.expected = (seq + len(payload)) % 2**32
        self.framing, self.owed, self.noise = None, 0, None

    def _read(self, payload: bytes) -> Label:
        """Messages from where the one that has begun ends."""
        found: list[Label] = []
        at = min(self.owed, len(payload))
        if at:
            found.append(_filler(self.protocol, f"rest of a message, {at} bytes"))
        self.owed -= at
        if self.framing is not None and at < len(payload):
            labels, end = frames(payload, self.framing, at)
            found += labels
            self.owed, at = max(0, end - len(payload)), end
            self._agreed(labels)
        if self.noise is not None and at < len(payload):
            messages, end = self.noise.read(payload, at)
            found += messages
            self.owed, at = max(0, end - len(payload)), end
        if found:
            self.protocol = found[-1].protocol
        if at < len(payload):
            found.append(tcp.data(len(payload) - at))
            self.framing = self.noise = None
        return joined(tuple(found))

    def _agreed(self, labels: Sequence[Label]) -> None:
        """After "/noise" the next bytes of this direction are Noise's."""
        if labels and labels[-1].field("protocol") == multistream.NOISE:
            self.framing, self.noise = None, _Noise()


def _filler(protocol: str, text: str) -> Label:
    return Label(protocol, text, weight=Weight.USUAL, filler=True)


class _Noise:
    """The XX handshake of one direction: messages 1 and 3 are the initiator's, 2 the other's."""

    def __init__(self) -> None:
        self._due: list[int] | None = None

    def read(self, payload: bytes, at: int) -> tuple[list[Label], int]:
        """The messages from ``at`` on, and where they end; nothing is read of what is encrypted."""
        found: list[Label] = []
        while at < len(payload):
            length = multistream.noise_frame(payload[at : at + 2])
            if self._due is None and length is not None:
                self._due = [1, 3] if length == 2 + multistream.NOISE_FIRST else [2]
            if not self._due or length is None:
                sealed = _filler("noise", f"encrypted, {len(payload) - at} bytes")
                found.append(replace(sealed, sealed=True))
                return found, len(payload)
            size = ("length", str(length - 2))
            text = f"Noise XX message {self._due.pop(0)}"
            found.append(Label("noise", text, (size,), weight=Weight.USUAL))
            at += length
        return found, at
