"""Unsigned varints and length-prefixed frames (multiformats unsigned-varint).

At most nine bytes, and only the shortest encoding is accepted.
"""

from .errors import FrameTooLargeError, ProtocolError

MAX_BYTES = 9


class IncompleteError(Exception):
    """The buffer ends inside the value: feed more bytes and try again."""


def encode(value: int) -> bytes:
    """The shortest encoding of a non-negative integer below 2**63."""
    if not 0 <= value < 1 << 63:
        raise ValueError(f"varint out of range: {value}")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes | bytearray | memoryview, offset: int = 0) -> tuple[int, int]:
    """The value at `offset` and the offset after it.

    Raises IncompleteError at the end of the buffer, ProtocolError for an encoding
    that is longer than nine bytes or not the shortest one.
    """
    value = 0
    for index in range(MAX_BYTES):
        if offset + index >= len(data):
            raise IncompleteError
        byte = data[offset + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if byte == 0 and index > 0:
                raise ProtocolError("varint", "not the shortest encoding")
            return value, offset + index + 1
    raise ProtocolError("varint", f"longer than {MAX_BYTES} bytes")


def frame(payload: bytes) -> bytes:
    """The payload behind its length."""
    return encode(len(payload)) + payload


class FrameDecoder:
    """Cuts a byte stream into length-prefixed frames of at most `limit` bytes each.

    Memory is bounded by `limit` plus what one `feed` brings: an oversize length is
    refused when its prefix is read, not when its bytes have arrived.
    """

    def __init__(self, limit: int, protocol: str = "frame") -> None:
        self.limit = limit
        self._protocol = protocol
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next whole frame, or None when more bytes are needed."""
        try:
            length, start = decode(self._buffer)
        except IncompleteError:
            return None
        if length > self.limit:
            raise FrameTooLargeError(self._protocol, f"frame of {length} bytes > {self.limit}")
        if len(self._buffer) < start + length:
            return None
        payload = bytes(self._buffer[start : start + length])
        del self._buffer[: start + length]
        return payload

    @property
    def trailing_data(self) -> bytes:
        """Bytes fed but not part of a frame that was returned."""
        return bytes(self._buffer)
