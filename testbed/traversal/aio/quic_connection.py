"""One libp2p connection over QUIC v1: aioquic's sans-io engine, driven by its endpoint."""

import asyncio
import contextlib
from collections.abc import Callable, Hashable
from typing import Any

from aioquic.quic import events

from ..errors import (
    ConnectionClosedError,
    HandshakeError,
    LimitError,
    PeerIdMismatchError,
    StreamResetError,
)
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from .connection import PATIENCE, Connection, Direction
from .quic_engine import Engine
from .stream import Stream

_BAD_CERTIFICATE = 0x100 + 42

_OfStream = events.StreamDataReceived | events.StreamReset | events.StopSendingReceived
Send = Callable[[bytes, Any], None]


class QuicPeer(Connection):
    """A connection whose `peer` is known once `handshake` is done.

    `facing` gives our address on the way to another.
    """

    def __init__(
        self,
        engine: Engine,
        send: Send,
        facing: Callable[[Multiaddr], Multiaddr],
        remote: Multiaddr,
        direction: Direction,
        expected: PeerId | None = None,
        *,
        keepalive: float,
    ) -> None:
        super().__init__(expected or _UNKNOWN, facing(remote), remote, direction)
        self.engine = engine
        self.on_connection_id: Callable[[bytes, bool], None] = _ignore
        self.on_terminated: Callable[[], None] = lambda: None
        self.on_settled: Callable[[], None] = lambda: None
        self.on_answer: Callable[[], None] | None = None  # of the first datagram
        self._send, self._facing = send, facing
        self._expected = expected
        self._keepalive_every = keepalive
        self._met: Any | None = None  # where the remote was last seen
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._ended: dict[int, Stream] = {}  # gone for the user, still known to the engine
        self._early: list[_OfStream] | None = []  # what came before `start`; None: since then
        self.handshake: asyncio.Future[PeerId] = self._loop.create_future()

    # For the endpoint.

    def connect(self, address: Any) -> None:
        """Send the client's first flight."""
        self.engine.connect(address, self._loop.time())
        self.pump()

    def receive(self, data: bytes, address: Any, now: float) -> None:
        """A datagram for this connection; `settle` is to follow, once for several."""
        self.heard_at = now
        if self.on_answer is not None:
            on_answer, self.on_answer = self.on_answer, None
            on_answer()
        self.engine.receive_datagram(data, address, self.heard_at)

    def settle(self) -> None:
        """Deal with what was received."""
        self.pump()
        self._follow()

    def pump(self) -> None:
        """Handle what happened, send what is due, arm the timer."""
        while (event := self.engine.next_event()) is not None:
            self._handle(event)
        if (ending := self.engine.ending) is not None:
            self._fail(_closed(ending))
        if self.sending.held:
            self.sending.settle(self.engine.all_undelivered)
        if self._blocked:
            self._unblock()
        for data, address in self.engine.datagrams_to_send(self._loop.time()):
            self._send(data, address)
        if self._timer is not None:
            self._timer.cancel()
        due = self.engine.get_timer()
        self._timer = None if due is None else self._loop.call_at(due, self._on_timer)
        self._progress.set()

    # Connection.

    def start(self) -> None:
        """The endpoint's datagrams and timers drive the engine: deal with what it brought before.

        The remote may open streams as soon as its own handshake is done.  On a busy machine they
        are read together with the last of ours, before whoever dialed goes on.
        """
        early, self._early = self._early or [], None
        for event in early:
            self._handle(event)
        if early:
            self.pump()

    def locate(self) -> Multiaddr:
        self.local = self._facing(self.remote)
        return self.local

    async def open_raw_stream(self) -> Stream:
        if self.closed:
            raise ConnectionClosedError(f"connection to {self.peer}: {self.close_reason}")
        stream_id = self.engine.get_next_available_stream_id()
        if not self.engine.may_open(stream_id):
            raise LimitError(f"{self.peer} allows no more streams for now")
        self.engine.send_stream_data(stream_id, b"")
        stream = self._streams[stream_id] = Stream(self, stream_id)
        return stream

    @property
    def undelivered(self) -> int:
        return self.engine.all_undelivered

    async def _finish(self) -> None:
        """An acknowledged byte has arrived in order at the latest with the last one."""
        await self._while_it_moves(lambda: not self.undelivered, PATIENCE)

    def _movement(self) -> Hashable:
        return self.undelivered

    def abort(self, reason: str) -> None:
        # The engine goes on through the closing period; the endpoint keeps feeding it.
        self.engine.close(error_code=0, reason_phrase="")
        self._fail(ConnectionClosedError(reason))
        self.pump()

    # Carrier.

    def stream_send(self, stream_id: int, data: memoryview) -> int:
        room = min(self.engine.send_buffer - self.engine.undelivered(stream_id), self.sending.room)
        accepted = max(0, min(room, len(data)))
        if accepted:
            self.engine.send_stream_data(stream_id, bytes(data[:accepted]))
            self.sending.settle(self.sending.held + accepted)
            self.pump()
        else:
            self._block(stream_id)
        return accepted

    def _unblock(self) -> None:
        """Those whose buffers are half empty, if the budget has room."""
        if not self.sending.room:
            return
        half = self.engine.send_buffer // 2
        for stream_id in [i for i in self._blocked if self.engine.undelivered(i) < half]:
            self._blocked.discard(stream_id)
            if stream := self._streams.get(stream_id):
                stream.window_opened()
        if not self._blocked:
            self.sending.wait(False)

    def ask_path(self) -> None:
        self.engine.send_ping(0)
        self.pump()

    def stream_consumed(self, stream_id: int, count: int) -> None:
        if self.engine.consume(stream_id, count, self._loop.time(), self.account.promise):
            self.pump()

    def stream_close_write(self, stream_id: int) -> None:
        with contextlib.suppress(ValueError, RuntimeError):
            self.engine.send_stream_data(stream_id, b"", end_stream=True)
        self.pump()

    def stream_close_read(self, stream_id: int) -> None:
        with contextlib.suppress(ValueError):
            self.engine.stop_stream(stream_id, 0)
        self.pump()

    def stream_undelivered(self, stream_id: int) -> int:
        return self.engine.undelivered(stream_id)

    def stream_reset(self, stream_id: int) -> None:
        with contextlib.suppress(ValueError, RuntimeError):
            self.engine.reset_stream(stream_id, 0)
            self.engine.stop_stream(stream_id, 0)
        self.pump()

    def stream_gone(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        self._blocked.discard(stream_id)
        if grown := self.engine.forget_window(stream_id):
            self.account.keep(grown)
        self._ended = {i: s for i, s in self._ended.items() if self.engine.knows(i)}
        if stream is not None:
            self._ended[stream_id] = stream

    async def drained(self) -> None:
        """Room is per stream here: `stream_send` takes nothing when there is none."""

    async def delivered(self, stream_id: int) -> None:
        await self._until(lambda: not self.engine.undelivered(stream_id))
        if self.engine.undelivered(stream_id):
            raise ConnectionClosedError(f"connection to {self.peer}: {self.close_reason}")

    # Events.

    def _handle(self, event: events.QuicEvent) -> None:
        if self._early is not None and isinstance(event, _OfStream):
            self._early.append(event)
        elif isinstance(event, events.StreamDataReceived):
            self._on_data(event)
        elif isinstance(event, events.StreamReset):
            self._on_reset(event.stream_id)
        elif isinstance(event, events.StopSendingReceived):
            self._on_stop_sending(event.stream_id)
        elif isinstance(event, events.HandshakeCompleted):
            self._on_handshake()
        elif isinstance(event, events.ConnectionIdIssued):
            self.on_connection_id(event.connection_id, True)
        elif isinstance(event, events.ConnectionIdRetired):
            self.on_connection_id(event.connection_id, False)
        elif isinstance(event, events.ConnectionTerminated):
            self._fail(_closed(event))
            self.on_terminated()

    def _on_handshake(self) -> None:
        try:
            self.peer = self.engine.peer_identity()
            if self._expected not in (None, self.peer):
                raise PeerIdMismatchError("tls", f"is {self.peer}, not {self._expected}")
        except HandshakeError as error:
            self.engine.close(error_code=_BAD_CERTIFICATE, reason_phrase=error.protocol)
            self._fail(error)
            return
        self.opened_at = self._loop.time()  # not when it was dialed, which may be long ago
        if not self.handshake.done():
            self.handshake.set_result(self.peer)
            self.on_settled()
        self._keepalive = self._loop.call_later(self._keepalive_every, self._on_keepalive)

    def _on_data(self, event: events.StreamDataReceived) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is None:
            ours = event.stream_id % 2 == (0 if self.engine._is_client else 1)
            if ours or self.closed or event.stream_id in self._ended:
                return
            stream = Stream(self, event.stream_id)
            self._accept_stream(stream)
        if event.data:
            stream.feed(event.data)
        if event.end_stream:
            stream.feed_eof()

    def _on_reset(self, stream_id: int) -> None:
        """The remote's part alone (RFC 9000 section 3.2): it may answer our STOP_SENDING."""
        if stream := self._streams.get(stream_id):
            stream.feed_abandoned(StreamResetError("reset by the remote"))
        elif stream_id not in self._ended:  # it ended before its first byte
            with contextlib.suppress(ValueError, RuntimeError):
                self.engine.reset_stream(stream_id, 0)

    def _on_stop_sending(self, stream_id: int) -> None:
        """The engine has answered with a reset, if bytes were left (RFC 9000 section 3.5)."""
        stream = self._streams.get(stream_id) or self._ended.get(stream_id)
        if stream is not None and (not stream.finished or self.engine.was_reset(stream_id)):
            stream.feed_stopped(StreamResetError("the remote reads no more"))

    def _fail(self, error: Exception) -> None:
        if not self.handshake.done():
            self.handshake.set_exception(error)
            self.handshake.exception()  # retrieved: nobody may be waiting
            self.on_settled()
        if self._keepalive is not None:
            self._keepalive.cancel()
        self._lost(str(error))

    def _follow(self) -> None:
        """The client may come from elsewhere than before: its NAT forgot it, or it roamed."""
        met, self._met = self._met, self.engine.proven_address or self._met
        if met not in (None, self._met) and self._met is not None and not self.closed:
            self.remote = Multiaddr.from_socket(self._met[0], self._met[1], "quic-v1")
            if self.on_moved is not None:
                self.on_moved(self)

    def _on_timer(self) -> None:
        self._timer = None
        self.engine.handle_timer(self._loop.time())
        self.pump()

    def _on_keepalive(self) -> None:
        self.engine.send_ping(0)
        self._keepalive = self._loop.call_later(self._keepalive_every, self._on_keepalive)
        self.pump()


def _closed(event: events.ConnectionTerminated) -> ConnectionClosedError:
    by_peer = "closed by the remote" if event.error_code == 0 else None
    reason = event.reason_phrase or by_peer or f"QUIC error {event.error_code:#x}"
    return ConnectionClosedError(reason)


def _ignore(connection_id: bytes, issued: bool) -> None:
    del connection_id, issued


# Stands in until the handshake of an inbound connection has shown who it is.
_UNKNOWN = PeerId(bytes([0, 0]))
