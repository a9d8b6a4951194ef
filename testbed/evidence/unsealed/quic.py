"""Streams of QUIC version 1 (RFC 9000, RFC 9001), of ends whose connection ids have 8 bytes."""

from collections.abc import Iterator, Sequence

from aioquic._crypto import CryptoError
from aioquic.quic.crypto import CryptoContext
from aioquic.tls import CipherSuite

from testbed.evidence.protocols.quic import headers, is_short
from testbed.evidence.unsealed.stream import Piece
from testbed.model.packet import Packet

_VERSION_1 = 1
_ID = 8  # bytes
_SUITES = {
    32: (CipherSuite.AES_128_GCM_SHA256, CipherSuite.CHACHA20_POLY1305_SHA256),
    48: (CipherSuite.AES_256_GCM_SHA384,),
}
_STREAM, _STREAM_END = 0x08, 0x0F
_OFFSET, _LENGTH = 0x04, 0x02
# Numbers that follow the types of other frames (section 19), and bytes after those.
_NUMBERS = {
    0x00: 0, 0x01: 0, 0x04: 3, 0x05: 2, 0x10: 1, 0x11: 2, 0x12: 1, 0x13: 1, 0x14: 1, 0x15: 2,
    0x16: 1, 0x17: 1, 0x19: 1, 0x1A: 0, 0x1B: 0, 0x1E: 0,
}  # fmt: skip
_AFTER = {0x1A: 8, 0x1B: 8}
_ACK, _ACK_ECN, _CRYPTO, _TOKEN, _NEW_ID, _CLOSE, _CLOSE_BY = 2, 3, 6, 7, 0x18, 0x1C, 0x1D


def pieces(flow: Sequence[Packet], secrets: tuple[bytes, bytes]) -> list[Piece]:
    """Of all streams in a connection; none where these are not its secrets.

    They are the client's and the server's; which end is which the packets tell.
    """
    for client_sends in (True, False):
        found = [
            piece
            for outgoing in (True, False)
            for piece in _pieces(flow, secrets[outgoing is not client_sends], outgoing=outgoing)
        ]
        if found:
            return found
    return []


def _pieces(flow: Sequence[Packet], secret: bytes, *, outgoing: bool) -> Iterator[Piece]:
    contexts = [_context(suite, secret) for suite in _SUITES.get(len(secret), ())]
    expected = 0
    for packet in flow:
        if packet.outgoing is not outgoing or packet.cut:
            continue
        data = packet.payload[sum(header.length for header in headers(packet.payload)) :]
        if not is_short(data) or len(data) < 1 + _ID + 20:
            continue
        for context in contexts:
            try:
                _, plain, number, _ = context.decrypt_packet(data, 1 + _ID, expected)
            except CryptoError:
                continue
            contexts, expected = [context], max(expected, number + 1)
            yield from _frames(plain, outgoing=outgoing)
            break


def _context(suite: CipherSuite, secret: bytes) -> CryptoContext:
    made = CryptoContext()
    made.setup(cipher_suite=suite, secret=secret, version=_VERSION_1)
    return made


def _frames(data: bytes, *, outgoing: bool) -> Iterator[Piece]:
    """The STREAM frames of a packet; ends at a frame that is not known."""
    reader = _Reader(data)
    while not reader.over:
        kind = reader.number()
        if _STREAM <= kind <= _STREAM_END:
            stream = reader.number()
            offset = reader.number() if kind & _OFFSET else 0
            count = reader.number() if kind & _LENGTH else len(data)
            yield Piece(stream, outgoing, offset, reader.take(count))
        elif kind in _NUMBERS:
            reader.numbers(_NUMBERS[kind])
            reader.take(_AFTER.get(kind, 0))
        elif not reader.skip(kind):
            return


class _Reader:
    """A packet's frames from front to back; past the end everything is empty."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def over(self) -> bool:
        return self._at >= len(self._data)

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        self._at += count
        return part

    def number(self) -> int:
        """Of variable length (section 16)."""
        first = self.take(1)
        if not first:
            return 0
        rest = self.take((1 << (first[0] >> 6)) - 1)
        return int.from_bytes(bytes([first[0] & 0x3F]) + rest)

    def numbers(self, count: int) -> None:
        for _ in range(count):
            self.number()

    def skip(self, kind: int) -> bool:
        """A frame whose length is in it; False for one that is not known."""
        if kind in (_ACK, _ACK_ECN):
            self.numbers(2)
            ranges = self.number()
            self.numbers(1 + 2 * min(ranges, len(self._data)) + 3 * (kind == _ACK_ECN))
        elif kind in (_CRYPTO, _TOKEN, _CLOSE_BY, _CLOSE):
            self.numbers({_CRYPTO: 1, _CLOSE: 2, _CLOSE_BY: 1}.get(kind, 0))
            self.take(self.number())
        elif kind == _NEW_ID:
            self.numbers(2)
            self.take(int.from_bytes(self.take(1)) + 16)
        else:
            return False
        return True
