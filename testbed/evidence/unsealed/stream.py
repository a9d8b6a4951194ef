"""The bytes of one stream, and what it begins with: the protocol, and a frame each way."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from testbed.model.frozen import FrozenValue


class Piece(NamedTuple):
    """Bytes of a stream at their place; ``outgoing``: the node sent them."""

    stream: int
    outgoing: bool
    offset: int
    data: bytes


class Stream(FrozenValue):
    """What a node sent and got on a stream, without the words that agree on the protocol."""

    protocol: str
    sent: bytes
    got: bytes


def stream(pieces: Sequence[Piece]) -> Stream:
    """The stream that ``pieces`` are of."""
    (protocol, sent), (other, got) = (
        _negotiated(joined((p.offset, p.data) for p in pieces if p.outgoing is outgoing))
        for outgoing in (True, False)
    )
    return Stream(protocol or other, sent, got)


def joined(pieces: Iterable[tuple[int, bytes]]) -> bytes:
    """All from the first byte on until one is missing; what came again counts once."""
    found = bytearray()
    for offset, data in sorted(pieces, key=lambda piece: piece[0]):
        if offset > len(found):
            break
        found += data[len(found) - offset :]
    return bytes(found)


def frame(data: bytes) -> tuple[bytes, bytes]:
    """What stands behind its length as a varint, and what follows; nothing where it is not whole.

    (The protobuf varint of libp2p's frames.)
    """
    length = shift = 0
    for at, byte in enumerate(data[:5]):
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            whole = data[at + 1 : at + 1 + length]
            return (whole, data[at + 1 + length :]) if len(whole) == length else (b"", data)
    return b"", data


def _negotiated(data: bytes) -> tuple[str, bytes]:
    """The protocol that multistream-select 1.0.0 agreed on, and what comes after."""
    protocol = ""
    while True:
        line, rest = frame(data)
        if not (line.startswith(b"/") and line.endswith(b"\n")):
            return protocol, data
        data = rest
        if not line.startswith(b"/multistream/"):
            protocol = line[:-1].decode("utf-8", "replace")
