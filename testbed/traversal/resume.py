"""A byte stream that outlives its paths.  Sans-io: bytes and offsets in, bytes out.

Each path carries frames of one session; what the other side has not acknowledged is kept, and
sent again on the next path from where the other side says it is.  Own protocol, no standard has
one: HELLO and WELCOME open a path, then DATA, ACK and END in both directions.
"""

import os
from dataclasses import dataclass
from enum import IntEnum

from . import protobuf, varint
from .errors import ProtocolError

PROTOCOL = "/traversal/resume/1.0.0"
MAX_HELLO = 512
MAX_DATA = 32 * 1024
BUFFER = 1024 * 1024  # bytes that wait for an acknowledgement; as many may wait for the reader
_ACK_EVERY = 64 * 1024
_SESSION = 16


class Status(IntEnum):
    """What the server says to a HELLO."""

    OK = 1
    UNKNOWN_SESSION = 2
    UNKNOWN_PROTOCOL = 3
    TOO_MANY = 4


@dataclass(frozen=True)
class Hello(protobuf.Message):
    """From the side that opened the session: `received` bytes of the other's so far."""

    session: bytes | None = protobuf.blob(1)
    protocol: str | None = protobuf.text(2)
    received: int | None = protobuf.uint(3)
    resumes: int | None = protobuf.uint(4)

    def check(self) -> None:
        """Raises ProtocolError."""
        if len(self.session or b"") != _SESSION or not self.protocol:
            raise ProtocolError("resume", "a session of 16 bytes and a protocol are needed")


@dataclass(frozen=True)
class Welcome(protobuf.Message):
    """The answer."""

    status: int | None = protobuf.uint(1)
    received: int | None = protobuf.uint(2)


class _Kind(IntEnum):
    DATA = 0
    ACK = 1
    END = 2


def new_session() -> bytes:
    """A name that nobody guesses."""
    return os.urandom(_SESSION)


class Session:
    """One end.  An end of writing counts as one byte after the last."""

    def __init__(self) -> None:
        self.written = 0  # bytes of ours
        self.acknowledged = 0  # of them, and of our end, by the other side
        self.received = 0  # of the other side's
        self.ended = False  # we write no more
        self.remote_ended = False
        self.attached = False
        self._unacknowledged = bytearray()
        self._next = 0  # the offset that is sent next on this path
        self._in = bytearray()
        self._unread = bytearray()
        self._told = 0  # what we have acknowledged on this path

    # What the user does.

    @property
    def room(self) -> int:
        """Bytes that `write` takes now."""
        return max(0, BUFFER - len(self._unacknowledged))

    def write(self, data: bytes | memoryview) -> int:
        """Take as much as there is room for; returns how many bytes."""
        if self.ended:
            raise ProtocolError("resume", "written after the end")
        taken = min(len(data), self.room)
        self._unacknowledged += data[:taken]
        self.written += taken
        return taken

    def end(self) -> None:
        """No more bytes from us."""
        self.ended = True

    def read(self, limit: int) -> bytes:
        """What has come, in order; b"" where there is nothing now."""
        data = bytes(self._unread[:limit])
        del self._unread[:limit]
        return data

    @property
    def unread(self) -> int:
        """Bytes that wait for the user."""
        return len(self._unread)

    @property
    def delivered(self) -> bool:
        """Whether the other side has everything, and our end if there is one."""
        return self.acknowledged >= self.written + self.ended

    @property
    def over(self) -> bool:
        """Whether both directions have ended and both sides know."""
        return self.ended and self.delivered and self.remote_ended and self._told == self.received

    # Paths.

    def attach(self, received: int) -> None:
        """A new path, whose other side has `received` of our bytes.  Raises ProtocolError."""
        if not self.acknowledged <= received <= self.written + self.ended:
            raise ProtocolError("resume", f"{received} bytes received, of {self.written}")
        self._acknowledge(received)
        self._next = received
        self._in.clear()
        self._told = self.received
        self.attached = True

    def detach(self) -> None:
        """The path is gone."""
        self.attached = False

    def data_to_send(self, limit: int = MAX_DATA) -> bytes:
        """A frame or two for this path, with `limit` bytes of ours at most; b"" for nothing."""
        out = bytearray()
        if self.received - self._told >= _ACK_EVERY or (
            self.received > self._told and (self.remote_ended or not self._unread)
        ):
            self._told = self.received
            out += _frame(_Kind.ACK, varint.encode(self.received))
        start = self._next - self.acknowledged
        if data := bytes(self._unacknowledged[start : start + min(limit, MAX_DATA)]):
            self._next += len(data)
            out += _frame(_Kind.DATA, data)
        elif self.ended and self._next == self.written:
            self._next += 1
            out += _frame(_Kind.END, b"")
        return bytes(out)

    def receive_data(self, data: bytes) -> None:
        """Bytes of this path.  Raises ProtocolError; the path must be dropped then."""
        self._in += data
        offset = 0
        while len(self._in) - offset >= 5:
            kind = self._in[offset]
            length = int.from_bytes(self._in[offset + 1 : offset + 5], "big")
            if kind not in set(_Kind) or length > MAX_DATA:
                raise ProtocolError("resume", f"frame of kind {kind} and {length} bytes")
            end = offset + 5 + length
            if len(self._in) < end:
                break
            self._take(_Kind(kind), bytes(self._in[offset + 5 : end]))
            offset = end
        del self._in[:offset]

    # Private.

    def _take(self, kind: _Kind, body: bytes) -> None:
        if kind is _Kind.ACK:
            try:
                count, _ = varint.decode(body)
            except varint.IncompleteError as error:
                raise ProtocolError("resume", "an ACK that is cut off") from error
            if count > self._next:
                raise ProtocolError("resume", f"{count} acknowledged, {self._next} sent")
            self._acknowledge(count)
        elif self.remote_ended:
            raise ProtocolError("resume", "something after the end")
        elif kind is _Kind.END:
            self.remote_ended = True
            self.received += 1
        else:
            self._unread += body
            self.received += len(body)

    def _acknowledge(self, count: int) -> None:
        fresh = count - self.acknowledged
        if fresh > 0:
            del self._unacknowledged[:fresh]
            self.acknowledged = count


def _frame(kind: _Kind, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(4, "big") + body
