"""QUIC beyond long headers: what belongs to a connection, and what opens a hole for one."""

from collections.abc import Mapping, Sequence

from testbed.evidence.protocols import quic
from testbed.evidence.protocols.notes import Labels, noted
from testbed.model.journey import Journey, Label, NoteKind, Weight
from testbed.model.packet import Endpoint, Packet

# libp2p relay/DCUtR.md has B send datagrams of random bytes; go, rust and we send so many.
PUNCH_LENGTH = 64  # bytes

_Key = tuple[str, Endpoint, Endpoint]  # a node, its own end, the other as it sees it


def quic_connections(journeys: Sequence[Journey], read: Mapping[int, Label]) -> Labels:
    """The labels of 1-RTT packets, of Initials that answer one, and of punch datagrams.

    ``journeys`` in order of time.
    """
    known = _Known()
    speakers = {
        (journey.sender, journey.first.source)
        for journey in journeys
        if read[journey.first.number].protocol == "quic"
    }
    changed: Labels = {}
    if not speakers:
        return changed
    for journey in journeys:
        packet = journey.first
        if packet.protocol != "udp":
            continue
        label = read[packet.number]
        if label.protocol == "quic":
            asked = known.learn(journey, label)
            if asked is not None:
                field = ("answers", f"#{asked}")
                changed[packet.number] = noted(
                    label, f"answer to #{asked}", field, kind=NoteKind.ANSWER
                )
        elif label.protocol == "udp":
            found = known.short(journey.sender, packet)
            if found is None and (journey.sender, packet.source) in speakers:
                found = known.punch(journey.sender, packet)
            if found is not None:
                changed[packet.number] = found
    return changed


class _Known:
    """Connection ids, and between whom there are connections, as the packets so far tell."""

    def __init__(self) -> None:
        self._ids: set[bytes] = set()
        self._lengths: set[int] = set()
        self._asked: dict[str, int] = {}  # client's id -> its Initial, until it is answered
        self._spoke: set[_Key] = set()
        self._heard: dict[_Key, int] = {}  # since when
        self._punched: set[_Key] = set()

    def learn(self, journey: Journey, label: Label) -> int | None:
        """A long header.  Gives the Initial that this is the first answer to."""
        first, last = journey.first, journey.last
        source, destination = label.field("SCID") or "", label.field("DCID") or ""
        self._spoke.add((journey.sender, first.source, first.destination))
        if journey.arrived:
            self._heard.setdefault((last.node, last.destination, last.source), last.time_ns)
        if source:
            self._ids.add(bytes.fromhex(source))
            self._lengths.add(len(source) // 2)
        if not destination:
            return None
        asked = self._asked.pop(destination, None)
        if asked is None and quic.is_initial(label) and not label.notes:
            self._asked[source] = first.number
        return asked

    def short(self, sender: str, packet: Packet) -> Label | None:
        """A 1-RTT packet (RFC 9000 section 17.3.1): to a known id, or within a connection.

        An endpoint may go over to an id that was told it encrypted (section 5.1.1).
        """
        data = packet.payload
        if not quic.is_short(data):
            return None
        size = ("length", str(len(data)))
        text = f"1-RTT, {len(data)} bytes"
        for length in self._lengths:
            if data[1 : 1 + length] in self._ids:
                fields = (("packet", "1-RTT"), ("DCID", data[1 : 1 + length].hex()), size)
                return _sealed(text, fields)
        key = (sender, packet.source, packet.destination)
        filler = len(data) == PUNCH_LENGTH and key in self._punched
        connected = key in self._spoke and self._heard.get(key, packet.time_ns) < packet.time_ns
        return _sealed(text, (("packet", "1-RTT"), size)) if connected and not filler else None

    def punch(self, sender: str, packet: Packet) -> Label | None:
        """Random bytes, from a port that speaks QUIC, to where it has no connection yet."""
        if len(packet.payload) != PUNCH_LENGTH:
            return None
        self._punched.add((sender, packet.source, packet.destination))
        return Label("punch", "punch datagram", (("length", str(PUNCH_LENGTH)),))


def _sealed(text: str, fields: tuple[tuple[str, str], ...]) -> Label:
    return Label("quic", text, fields, weight=Weight.USUAL, filler=True, sealed=True)
