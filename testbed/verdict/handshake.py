"""Who is the client of a libp2p connection?  Read off its first payloads, without keys."""

from collections.abc import Iterable, Sequence

from testbed.model.frozen import FrozenValue
from testbed.model.packet import Packet

_TEXTS = (b"/multistream/", b"/noise")
NOISE_FIRST = 32  # bytes: message 1 of XX is an X25519 key alone; 2 and 3 carry a payload
_LONG_INITIAL = 0xC0  # RFC 9000 section 17.2.2: fixed bit, long header, type 0
_VERSION_1 = b"\x00\x00\x00\x01"


class Initial(FrozenValue):
    """A QUIC v1 Initial packet's connection ids (RFC 9000 section 17.2)."""

    packet: Packet
    destination: bytes
    source: bytes


def first_noise_length(packets: Iterable[Packet]) -> int | None:
    """The length that the first Noise message of one direction declares, if any is there.

    ``packets``: that direction of one TCP connection at one vantage, in order of time.
    """
    pieces: dict[int, bytes] = {}
    for packet in packets:
        if packet.payload:
            pieces.setdefault(packet.tcp_seq, packet.payload)
    data = b"".join(pieces.values())
    while data[1:].startswith(_TEXTS):
        data = data[1 + data[0] :]
    return int.from_bytes(data[:2], "big") if len(data) >= 2 else None


def quic_initials(packets: Iterable[Packet]) -> list[Initial]:
    """The Initial packets at the heads of these datagrams."""
    return [found for packet in packets if (found := _initial(packet)) is not None]


def unsolicited(initials: Sequence[Initial], answered: Sequence[Initial]) -> list[Initial]:
    """Those of ``initials`` that answer none of the other side's.

    A server sends to the id that the client chose for itself; a client's first
    destination is a number of its own making.
    """
    known = {one.source for one in answered}
    return [one for one in initials if one.destination not in known]


def _initial(packet: Packet) -> Initial | None:
    data = packet.payload
    if len(data) < 7 or data[0] & 0xF0 != _LONG_INITIAL or data[1:5] != _VERSION_1:
        return None
    destination_end = 6 + data[5]
    source_end = destination_end + 1 + data[destination_end] if len(data) > destination_end else 0
    if not source_end or len(data) < source_end:
        return None
    return Initial(packet, data[6:destination_end], data[destination_end + 1 : source_end])
