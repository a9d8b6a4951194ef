"""Yamux within Noise within TCP (libp2p noise and yamux specifications)."""

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from testbed.evidence.unsealed.stream import Piece as Piece
from testbed.evidence.unsealed.stream import frame, joined
from testbed.model.packet import SYN, Packet

_EPHEMERAL = 32  # bytes: the first message of XX is an X25519 key alone
_HANDSHAKE = {True: 2, False: 1}  # messages of the initiator, and of the responder
_YAMUX = struct.Struct("!BBHII")
_DATA = 0


def pieces(flow: Sequence[Packet], known: Mapping[bytes, tuple[bytes, bytes]]) -> list[Piece]:
    """Of all streams in a connection; none where no key fits.  ``flow``: both ways, one vantage."""
    ways = {out: list(_messages(_segments(flow, outgoing=out))) for out in (True, False)}
    for outgoing, messages in ways.items():
        if messages and len(messages[0]) == _EPHEMERAL and messages[0] in known:
            ours, theirs = known[messages[0]]
            found = _pieces(messages[_HANDSHAKE[True] :], ours, outgoing=outgoing)
            other = ways[not outgoing][_HANDSHAKE[False] :]
            return found + _pieces(other, theirs, outgoing=not outgoing)
    return []


def _segments(flow: Sequence[Packet], *, outgoing: bool) -> bytes:
    """The bytes of one direction, in the order of RFC 9293's sequence numbers."""
    packets = [p for p in flow if p.outgoing is outgoing]
    first = next((p.tcp_seq + 1 for p in packets if p.tcp_flags & SYN), None)
    if first is None:
        return b""
    carried = (p for p in packets if p.payload and not p.cut)
    return joined(((p.tcp_seq - first) % 2**32, p.payload) for p in carried)


def _messages(data: bytes) -> Iterator[bytes]:
    """Those of Noise, each behind its length in two bytes; before them only multistream-select."""
    while data[1:2] == b"/":
        _, rest = frame(data)
        if rest == data:
            return
        data = rest
    while len(data) >= 2:
        end = 2 + int.from_bytes(data[:2])
        if end > len(data):
            return
        yield data[2:end]
        data = data[end:]


def _pieces(messages: Sequence[bytes], key: bytes, *, outgoing: bool) -> list[Piece]:
    cipher, plain = ChaCha20Poly1305(key), bytearray()
    try:
        for number, message in enumerate(messages):
            plain += cipher.decrypt(struct.pack("<4xQ", number), message, b"")
    except InvalidTag:
        return []
    return list(_frames(bytes(plain), outgoing=outgoing))


def _frames(data: bytes, *, outgoing: bool) -> Iterator[Piece]:
    """Yamux's data; the words that agree on Yamux stand before, where the handshake did not."""
    while data[1:2] == b"/":
        _, data = frame(data)
    sums: dict[int, int] = defaultdict(int)
    while len(data) >= _YAMUX.size:
        _, kind, _, stream, length = _YAMUX.unpack(data[: _YAMUX.size])
        end = _YAMUX.size + (length if kind == _DATA else 0)
        if kind == _DATA and length and end <= len(data):
            yield Piece(stream, outgoing, sums[stream], data[_YAMUX.size : end])
            sums[stream] += length
        data = data[end:]
