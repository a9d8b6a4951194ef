"""What two punchers say to one another: a frame, the same in a datagram and on a stream."""

import struct
from collections.abc import Iterator
from enum import IntEnum

from testbed.model.contract import ENDS, Configure, Role
from testbed.model.frozen import FrozenValue

MAGIC = b"\xf5tb1"  # first two bits 11: neither STUN (00) nor TURN channel data (01)
PAYLOAD_LIMIT = 1000  # bytes, far below every MTU of a lab
_HEADER = struct.Struct("!4sBB16sIH")
HEADER_LENGTH = _HEADER.size


class Kind(IntEnum):
    PROBE = 1  # are you there?
    ACK = 2  # answers the probe, or the selection, of that number
    SELECT = 3  # TCP: the dialer says which of several connections is used
    DATA = 4  # to be sent back
    BACK = 5  # a DATA that was sent back


class Frame(FrozenValue):
    """``session`` keeps strangers out; ``role`` is the sender's, so nobody answers itself."""

    kind: Kind
    role: Role
    session: bytes  # 16 octets
    number: int  # 32 bits
    payload: bytes = b""

    def encode(self) -> bytes:
        role = ENDS.index(self.role)
        size = len(self.payload)
        return _HEADER.pack(MAGIC, self.kind, role, self.session, self.number, size) + self.payload


def decode(data: bytes) -> Frame | None:
    """The frame that ``data`` is; None if it is not exactly one."""
    if len(data) < HEADER_LENGTH:
        return None
    magic, kind, role, session, number, size = _HEADER.unpack_from(data)
    if magic != MAGIC or kind not in set(Kind) or role >= len(ENDS):
        return None
    payload = data[HEADER_LENGTH:]
    if len(payload) != size or size > PAYLOAD_LIMIT:
        return None
    return Frame(Kind(kind), ENDS[role], session, number, payload)


class NotAFrame(ValueError):
    """A stream carries something else; the connection is of no use."""


class FrameReader:
    """Cuts a stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that ``data`` completes; NotAFrame if the stream is not ours."""
        self._buffer += data
        while len(self._buffer) >= HEADER_LENGTH:
            end = HEADER_LENGTH + int.from_bytes(self._buffer[HEADER_LENGTH - 2 : HEADER_LENGTH])
            if end > HEADER_LENGTH + PAYLOAD_LIMIT:
                raise NotAFrame(f"a payload of {end - HEADER_LENGTH} bytes")
            if len(self._buffer) < end:
                return
            frame = decode(bytes(self._buffer[:end]))
            if frame is None:
                raise NotAFrame(bytes(self._buffer[:HEADER_LENGTH]).hex())
            del self._buffer[:end]
            yield frame


class Speaker(FrozenValue):
    """Makes our frames, and knows the other side's."""

    role: Role
    session: bytes

    @classmethod
    def of(cls, configure: Configure) -> "Speaker":
        return cls(configure.role, bytes.fromhex(configure.session))

    def say(self, kind: Kind, number: int, payload: bytes = b"") -> bytes:
        return Frame(kind, self.role, self.session, number, payload).encode()

    def heeds(self, frame: Frame | None) -> bool:
        """Whether ``frame`` is from the other side of this session."""
        return frame is not None and frame.session == self.session and frame.role != self.role
