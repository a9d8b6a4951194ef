"""Yamux 1.0: many streams over one byte stream.  Sans-io: bytes and time in, bytes and events out.

Limits: a stream's unread bytes never exceed its window, which grows from `window` to `max_window`
where the round trip wants it; inbound streams never exceed `max_inbound`; a peer that overruns a
window is cut off with a typed error.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from .errors import ConnectionClosedError, LimitError, ProtocolError, StreamResetError
from .window import ReceiveWindow

PROTOCOL = "/yamux/1.0.0"
INITIAL_WINDOW = 256 * 1024
MAX_DATA = 64 * 1024
_HEADER = struct.Struct("!BBHII")
_SYN, _ACK, _FIN, _RST = 1, 2, 4, 8
_MAX_WINDOW = 2**32 - 1
_MAX_LEFT = 1024
_MAX_SKIPPED = 256  # as many streams as the remote opens at once
_MAX_PINGS = 16
_MEASURED_EVERY = 5.0  # seconds, of a path by which much is read


class _Type(IntEnum):
    DATA = 0
    WINDOW_UPDATE = 1
    PING = 2
    GO_AWAY = 3


class GoAwayCode(IntEnum):
    """Why a session ends."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


@dataclass(frozen=True)
class StreamOpened:
    """The remote opened a stream."""

    stream_id: int


@dataclass(frozen=True)
class DataReceived:
    """Bytes arrived; call `consume` when the user took them."""

    stream_id: int
    data: bytes


@dataclass(frozen=True)
class WriteClosed:
    """The remote will write no more on this stream."""

    stream_id: int


@dataclass(frozen=True)
class StreamReset:
    """The remote reset the stream."""

    stream_id: int


@dataclass(frozen=True)
class WindowOpened:
    """The stream can be written again."""

    stream_id: int


@dataclass(frozen=True)
class PingAnswered:
    """Round trip in seconds."""

    rtt: float


@dataclass(frozen=True)
class GoneAway:
    """The remote accepts no more streams."""

    code: int


Event = (
    StreamOpened | DataReceived | WriteClosed | StreamReset | WindowOpened | PingAnswered | GoneAway
)


@dataclass(frozen=True)
class Limits:
    """Bytes, counts and seconds.

    `max_unacknowledged` are streams of ours that the remote has not acknowledged.  A `window`
    below 256 KiB holds from the moment on when so much has been read: the first one is fixed.
    A window of a path that is long grows up to `max_window`, if `Session.promise` allows it.
    """

    window: int = INITIAL_WINDOW
    max_window: int = 16 * INITIAL_WINDOW
    max_inbound: int = 256
    max_outbound: int = 1024
    max_unacknowledged: int = 256
    keepalive: float = 30.0
    keepalive_timeout: float = 15.0


class _Frame(NamedTuple):
    flags: int
    stream_id: int
    length: int
    data: bytes
    now: float


@dataclass
class _Stream:
    inbound: bool
    window: ReceiveWindow
    send_window: int = INITIAL_WINDOW
    receive_window: int = INITIAL_WINDOW  # what the remote may still send
    withheld: int = 0  # of the first window, what is not given back: we want a smaller one
    acknowledged: bool = False
    pending_flags: int = 0
    local_closed: bool = False
    remote_closed: bool = False
    deaf: bool = False  # nobody reads what still arrives


class _Ping(NamedTuple):
    sent_at: float
    data_sent: int  # by then, all streams together


class Session:
    """One side of a Yamux session."""

    def __init__(self, *, client: bool, now: float, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._streams: dict[int, _Stream] = {}
        self._left: dict[int, None] = {}  # closed by us, not by the remote; the oldest first
        self._next_id = 1 if client else 2
        self._remote_parity = 0 if client else 1
        self._highest_remote = -self._remote_parity
        self._skipped: dict[int, None] = {}  # lower ids that were not opened; the oldest first
        self._in = bytearray()
        self._out = bytearray()
        self._pings: dict[int, _Ping] = {}  # without an answer yet, the oldest first
        self._pinged = 0
        self.round_trip = 0.0  # the least that was seen: an answer may wait behind data
        self._measured_at = -_MEASURED_EVERY
        self._largest = max(INITIAL_WINDOW, self.limits.window)  # window that was ever given
        self.promise: Callable[[int], bool] = lambda _: False  # whether windows may grow so much
        self.keep: Callable[[int], None] = lambda _: None  # they are no more
        self._moved_at = now
        self._keepalive_at = now + self.limits.keepalive
        self.data_sent = 0
        self.data_read = 0  # of that, what the remote is known to have read: `ask`
        self.closed: str | None = None  # why no stream can be opened
        self._went_away = False
        self._handlers: dict[int, Callable[[_Frame], list[Event]]] = {
            _Type.DATA: self._on_data,
            _Type.WINDOW_UPDATE: self._on_window_update,
            _Type.PING: self._on_ping,
            _Type.GO_AWAY: self._on_go_away,
        }

    # What the user does.

    def open_stream(self) -> int:
        """A new stream's id; its SYN travels at once.  Raises LimitError, ConnectionClosedError."""
        if self.closed is not None:
            raise ConnectionClosedError(f"yamux session: {self.closed}")
        outbound = [s for s in self._streams.values() if not s.inbound]
        if len(outbound) >= self.limits.max_outbound:
            raise LimitError(f"{self.limits.max_outbound} outbound streams are open")
        if sum(not s.acknowledged for s in outbound) >= self.limits.max_unacknowledged:
            raise LimitError(f"{self.limits.max_unacknowledged} streams are not acknowledged yet")
        stream_id = self._next_id
        self._next_id += 2
        self._add(stream_id, _SYN, inbound=False)
        return stream_id

    def send(self, stream_id: int, data: bytes | memoryview) -> int:
        """Queue as much as the window allows; returns how many bytes that was."""
        stream = self._writable(stream_id)
        accepted = min(len(data), stream.send_window, MAX_DATA)
        if accepted:
            stream.send_window -= accepted
            self._frame(_Type.DATA, self._flags(stream), stream_id, accepted)
            self._out += data[:accepted]
            self.data_sent += accepted
        return accepted

    def consume(self, stream_id: int, count: int, now: float) -> None:
        """The user took `count` bytes: give window back once half of it is due."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.remote_closed:
            return
        kept = min(count, stream.withheld)
        stream.withheld -= kept
        given = stream.window.consume(count - kept, now, self.round_trip, self.promise)
        if given:
            self._frame(_Type.WINDOW_UPDATE, self._flags(stream), stream_id, given)
            stream.receive_window += given
            self._largest = max(self._largest, stream.window.size)
        # Before the first half is due, so that its time can be judged.
        busy = 4 * stream.window.waiting >= stream.window.size
        if busy and now - self._measured_at >= _MEASURED_EVERY:
            self._measured_at = now
            self.ask(now)

    def close_write(self, stream_id: int) -> None:
        """Half-close; a second call does nothing."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.local_closed:
            self._frame(_Type.DATA, self._flags(stream) | _FIN, stream_id, 0)
            stream.local_closed = True
            self._forget_if_done(stream_id)

    def close_read(self, stream_id: int) -> None:
        """Drop what arrives.  Once we do not write either, the remote's writing is reset."""
        stream = self._streams.get(stream_id)
        if stream is not None and not stream.deaf:
            stream.deaf = True
            self._forget_if_done(stream_id)

    def reset(self, stream_id: int) -> None:
        """Drop the stream now; an unknown one is already gone."""
        stream = self._remove(stream_id)
        if stream is not None:
            self._frame(_Type.WINDOW_UPDATE, self._flags(stream) | _RST, stream_id, 0)

    def go_away(self, code: GoAwayCode = GoAwayCode.NORMAL) -> None:
        """Say that the session ends."""
        if not self._went_away:
            self._went_away = True
            self.closed = f"we went away ({code.name})"
            self._frame(_Type.GO_AWAY, 0, 0, code)

    def data_to_send(self) -> bytes:
        """Bytes to write; each is returned once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    @property
    def pending(self) -> int:
        """Bytes that wait in `data_to_send`."""
        return len(self._out)

    # Time.

    @property
    def next_timer(self) -> float:
        """When `tick` wants to be called."""
        if not self._pings:
            return self._keepalive_at
        asked_at = next(iter(self._pings.values())).sent_at
        return max(asked_at, self._moved_at) + self.limits.keepalive_timeout

    def moved(self, now: float) -> None:
        """Bytes of ours arrive: the answer to a ping may only be behind many of them."""
        self._moved_at = now

    def tick(self, now: float) -> None:
        """Send a keepalive when due.  Raises ConnectionClosedError when one went unanswered."""
        if now < self.next_timer:
            return
        if self._pings:
            raise ConnectionClosedError("yamux: the remote did not answer a ping")
        self.ask(now)

    def ask(self, now: float) -> None:
        """Send a ping, unless many wait for their answers.

        The remote answers after it has read all that came before: `data_read`.
        """
        if len(self._pings) < _MAX_PINGS:
            self._pinged = (self._pinged + 1) & 0xFFFF_FFFF
            self._pings[self._pinged] = _Ping(now, self.data_sent)
            self._frame(_Type.PING, _SYN, 0, self._pinged)

    # What the remote does.

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """Feed received bytes.  After a ProtocolError the session must be dropped."""
        self._in += data
        if data:
            self._moved_at = now
        events: list[Event] = []
        offset = 0
        try:
            while len(self._in) - offset >= _HEADER.size:
                version, kind, flags, stream_id, length = _HEADER.unpack_from(self._in, offset)
                self._check_header(version, kind, stream_id, length)
                end = offset + _HEADER.size + (length if kind == _Type.DATA else 0)
                if len(self._in) < end:
                    break
                payload = bytes(self._in[offset + _HEADER.size : end])
                offset = end
                events += self._handlers[kind](_Frame(flags, stream_id, length, payload, now))
        except ProtocolError:
            self.go_away(GoAwayCode.PROTOCOL_ERROR)
            raise
        del self._in[:offset]
        return events

    def _check_header(self, version: int, kind: int, stream_id: int, length: int) -> None:
        """Refuse at once what would only be noticed after buffering a payload."""
        if version != 0 or kind not in self._handlers:
            raise ProtocolError("yamux", f"frame of version {version}, type {kind}")
        if (kind in (_Type.DATA, _Type.WINDOW_UPDATE)) != (stream_id != 0):
            raise ProtocolError("yamux", f"frame of type {kind} on stream {stream_id}")
        if kind == _Type.DATA:
            stream = self._streams.get(stream_id)
            allowed = stream.receive_window if stream else self._largest
            if length > allowed:
                raise ProtocolError("yamux", f"{length} bytes where the window is {allowed}")

    def _on_data(self, frame: _Frame) -> list[Event]:
        events = self._on_stream_flags(frame.flags, frame.stream_id)
        stream = self._streams.get(frame.stream_id)
        if stream is None:
            self._on_late_data(frame)
            return events
        if frame.data:
            if stream.remote_closed:
                raise ProtocolError("yamux", f"data after FIN on stream {frame.stream_id}")
            stream.receive_window -= frame.length
            if stream.deaf:
                self.consume(frame.stream_id, frame.length, frame.now)
            else:
                events.append(DataReceived(frame.stream_id, frame.data))
        return events + self._on_fin(frame.flags, frame.stream_id, stream)

    def _on_late_data(self, frame: _Frame) -> None:
        """Yamux has no STOP_SENDING; a reset after our FIN ends the remote's writing alone."""
        if frame.stream_id in self._left and (frame.data or frame.flags & _FIN):
            del self._left[frame.stream_id]
            if frame.data:
                self._frame(_Type.WINDOW_UPDATE, _RST, frame.stream_id, 0)

    def _on_window_update(self, frame: _Frame) -> list[Event]:
        events = self._on_stream_flags(frame.flags, frame.stream_id)
        stream = self._streams.get(frame.stream_id)
        if stream is None:
            return events
        if stream.send_window + frame.length > _MAX_WINDOW:
            raise ProtocolError("yamux", "window beyond 2**32")
        stream.send_window += frame.length
        if frame.length and not stream.local_closed:
            events.append(WindowOpened(frame.stream_id))
        return events + self._on_fin(frame.flags, frame.stream_id, stream)

    def _on_stream_flags(self, flags: int, stream_id: int) -> list[Event]:
        if flags & _RST:
            known = self._remove(stream_id)
            self._left.pop(stream_id, None)
            return [StreamReset(stream_id)] if known else []
        if flags & _ACK and (stream := self._streams.get(stream_id)) is not None:
            stream.acknowledged = True
        if not flags & _SYN:
            return []  # a stream we have reset may still be written to: ignored
        self._take(stream_id)
        inbound = sum(s.inbound for s in self._streams.values())
        if self._went_away or inbound >= self.limits.max_inbound:
            self._frame(_Type.WINDOW_UPDATE, _RST, stream_id, 0)
            return []
        self._add(stream_id, _ACK, inbound=True)
        return [StreamOpened(stream_id)]

    def _take(self, stream_id: int) -> None:
        """The remote opens this one, which it has not before.

        Ids need not rise: go-yamux draws one, and sends its SYN later, while others do the same.
        """
        if stream_id % 2 == self._remote_parity and stream_id > self._highest_remote:
            first = max(self._highest_remote + 2, stream_id - 2 * _MAX_SKIPPED)
            self._skipped.update(dict.fromkeys(range(first, stream_id, 2)))
            while len(self._skipped) > _MAX_SKIPPED:
                del self._skipped[next(iter(self._skipped))]
            self._highest_remote = stream_id
        elif stream_id in self._skipped:
            del self._skipped[stream_id]
        else:
            raise ProtocolError("yamux", f"SYN for stream {stream_id}")

    def _on_fin(self, flags: int, stream_id: int, stream: _Stream) -> list[Event]:
        if not flags & _FIN or stream.remote_closed:
            return []
        stream.remote_closed = True
        self._forget_if_done(stream_id)
        return [WriteClosed(stream_id)]

    def _on_ping(self, frame: _Frame) -> list[Event]:
        if frame.flags & _SYN:
            self._frame(_Type.PING, _ACK, 0, frame.length)
            return []
        ping = self._pings.pop(frame.length, None)
        if ping is None:
            return []
        self.data_read = max(self.data_read, ping.data_sent)
        took = frame.now - ping.sent_at
        self.round_trip = min(self.round_trip or took, took)
        self._keepalive_at = frame.now + self.limits.keepalive
        return [PingAnswered(took)]

    def _on_go_away(self, frame: _Frame) -> list[Event]:
        """It takes no new streams; those that it opens itself are still served."""
        self.closed = f"the remote went away (code {frame.length})"
        return [GoneAway(frame.length)]

    # Helpers.

    def _writable(self, stream_id: int) -> _Stream:
        stream = self._streams.get(stream_id)
        if stream is None:
            raise StreamResetError(f"yamux stream {stream_id} is gone")
        if stream.local_closed:
            raise StreamResetError(f"yamux stream {stream_id} is closed for writing")
        return stream

    def _add(self, stream_id: int, flags: int, *, inbound: bool) -> None:
        window = ReceiveWindow(self.limits.window, self.limits.max_window)
        stream = self._streams[stream_id] = _Stream(inbound, window, pending_flags=flags)
        extra = max(0, self.limits.window - INITIAL_WINDOW)
        stream.receive_window += extra
        stream.withheld = max(0, INITIAL_WINDOW - self.limits.window)
        self._frame(_Type.WINDOW_UPDATE, self._flags(stream), stream_id, extra)

    def _flags(self, stream: _Stream) -> int:
        flags, stream.pending_flags = stream.pending_flags, 0
        return flags

    def _forget_if_done(self, stream_id: int) -> None:
        stream = self._streams[stream_id]
        if not stream.local_closed or not (stream.remote_closed or stream.deaf):
            return
        self._remove(stream_id)
        if not stream.remote_closed:
            self._left[stream_id] = None
            if len(self._left) > _MAX_LEFT:
                del self._left[next(iter(self._left))]

    def _remove(self, stream_id: int) -> _Stream | None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None and stream.window.grown:
            self.keep(stream.window.grown)
        return stream

    def _frame(self, kind: _Type, flags: int, stream_id: int, length: int) -> None:
        self._out += _HEADER.pack(0, kind, flags, stream_id, length)
