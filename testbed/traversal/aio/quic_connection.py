"""One libp2p connection over QUIC v1: aioquic's sans-io engine, driven by its endpoint."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import Limit, QuicConnection
from aioquic.quic.packet import QuicFrameType, QuicProtocolVersion

from .. import tls_certificate
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
from .stream import Stream

WINDOW = 256 * 1024
MAX_STREAMS = 256
CONNECTION_ID_LENGTH = 8
_SEND_BUFFER = 256 * 1024
_BAD_CERTIFICATE = 0x100 + 42
_INITIAL_RTT = 0.1

Send = Callable[[bytes, Any], None]


@dataclass(frozen=True)
class QuicTimers:
    """Seconds: of silence, after which a connection is over; between two PINGs."""

    idle_timeout: float = 30.0
    keepalive: float = 10.0


def configuration(
    credentials: tls_certificate.Credentials, timers: QuicTimers, *, client: bool
) -> QuicConfiguration:
    """QUIC v1, ALPN libp2p, no SNI; certificates are checked by us, not against authorities."""
    return QuicConfiguration(
        alpn_protocols=[tls_certificate.ALPN],
        certificate=credentials.certificate,
        connection_id_length=CONNECTION_ID_LENGTH,
        idle_timeout=timers.idle_timeout,
        initial_rtt=_INITIAL_RTT,
        is_client=client,
        max_data=16 * WINDOW,
        max_stream_data=WINDOW,
        private_key=credentials.private_key,
        supported_versions=[QuicProtocolVersion.VERSION_1],
        verify_mode=ssl.CERT_NONE,
    )


class Engine(QuicConnection):
    """aioquic with what libp2p needs and it has no setting for.

    The server asks the client for a certificate, and a stream's window follows its
    reader (aioquic widens it without end): unread bytes stay within `WINDOW`.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.consumed: dict[int, int] = {}
        self._local_max_streams_bidi = Limit(
            QuicFrameType.MAX_STREAMS_BIDI, "max_streams_bidi", MAX_STREAMS
        )
        self._local_max_streams_uni = Limit(QuicFrameType.MAX_STREAMS_UNI, "max_streams_uni", 0)

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        if not self._is_client:
            self.tls._request_client_certificate = True

    def _write_stream_limits(self, builder: Any, space: Any, stream: Any) -> None:  # noqa: ARG002
        target = self.consumed.get(stream.stream_id, 0) + WINDOW
        if target - stream.max_stream_data_local >= WINDOW // 2:
            stream.max_stream_data_local = target
        if stream.max_stream_data_local_sent == stream.max_stream_data_local:
            return
        frame = builder.start_frame(
            QuicFrameType.MAX_STREAM_DATA,
            capacity=1 + 8 + 8,
            handler=self._on_max_stream_data_delivery,
            handler_args=(stream,),
        )
        frame.push_uint_var(stream.stream_id)
        frame.push_uint_var(stream.max_stream_data_local)
        stream.max_stream_data_local_sent = stream.max_stream_data_local

    def peer_identity(self) -> PeerId:
        """Check the remote's certificate.  Raises HandshakeError."""
        certificate = self.tls._peer_certificate
        if certificate is None:
            raise HandshakeError("tls", "the remote sent no certificate")
        return tls_certificate.verify(certificate)

    @property
    def ending(self) -> events.ConnectionTerminated | None:
        """Set from the first CONNECTION_CLOSE on; aioquic's own event waits out three PTOs."""
        return self._close_event

    @property
    def proven_address(self) -> Any | None:
        """Where the remote is, once it has answered there (RFC 9000 section 8.2)."""
        path = self._network_paths[0] if self._network_paths else None
        return path.addr if path is not None and path.is_validated else None

    def may_open(self, stream_id: int) -> bool:
        """Whether the remote's MAX_STREAMS allows one more (aioquic would queue it)."""
        return stream_id // 4 < self._remote_max_streams_bidi

    def undelivered(self, stream_id: int) -> int:
        """Bytes written to a stream and not yet acknowledged; an end of it counts as one."""
        stream = self._streams.get(stream_id)
        if stream is None or self.was_reset(stream_id):
            return 0
        end = stream.sender._buffer_fin is not None and not stream.sender.is_finished
        return len(stream.sender._buffer) + end

    @property
    def all_undelivered(self) -> int:
        """The same of all streams."""
        return sum(map(self.undelivered, self._streams))

    def was_reset(self, stream_id: int) -> bool:
        """Whether we dropped the rest of what was written to a stream."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.sender._reset_error_code is not None

    def knows(self, stream_id: int) -> bool:
        """Whether frames of the stream can still arrive."""
        return stream_id in self._streams


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
        self._send, self._facing = send, facing
        self._expected = expected
        self._keepalive_every = keepalive
        self._met: Any | None = None  # where the remote was last seen
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._blocked: set[int] = set()
        self._ended: dict[int, Stream] = {}  # gone for the user, still known to the engine
        self.handshake: asyncio.Future[PeerId] = self._loop.create_future()

    # For the endpoint.

    def connect(self, address: Any) -> None:
        """Send the client's first flight."""
        self.engine.connect(address, self._loop.time())
        self.pump()

    def receive(self, data: bytes, address: Any) -> None:
        """A datagram for this connection."""
        self.heard_at = self._loop.time()
        self.engine.receive_datagram(data, address, self._loop.time())
        self.pump()
        self._follow()

    def pump(self) -> None:
        """Handle what happened, send what is due, arm the timer."""
        while (event := self.engine.next_event()) is not None:
            self._handle(event)
        if (ending := self.engine.ending) is not None:
            self._fail(_closed(ending))
        for stream_id in list(self._blocked):
            if self.engine.undelivered(stream_id) < _SEND_BUFFER // 2:
                self._blocked.discard(stream_id)
                if stream := self._streams.get(stream_id):
                    stream.window_opened()
        for data, address in self.engine.datagrams_to_send(self._loop.time()):
            self._send(data, address)
        if self._timer is not None:
            self._timer.cancel()
        due = self.engine.get_timer()
        self._timer = None if due is None else self._loop.call_at(due, self._on_timer)
        self._progress.set()

    # Connection.

    def start(self) -> None:
        """Nothing to begin: the endpoint's datagrams and timers drive the engine."""

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
        room = _SEND_BUFFER - self.engine.undelivered(stream_id)
        accepted = max(0, min(room, len(data)))
        if accepted:
            self.engine.send_stream_data(stream_id, bytes(data[:accepted]))
            self.pump()
        else:
            self._blocked.add(stream_id)
        return accepted

    def stream_consumed(self, stream_id: int, count: int) -> None:
        consumed = self.engine.consumed
        before = consumed.get(stream_id, 0)
        consumed[stream_id] = before + count
        if (before + count) // (WINDOW // 2) != before // (WINDOW // 2):
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
        self.engine.consumed.pop(stream_id, None)
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
        if isinstance(event, events.StreamDataReceived):
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
