"""aioquic's sans-io engine with what libp2p needs of it, and it has no setting for.

It was compared with qh3 2.1 (Rust), which takes less than half of aioquic's processor time, though
not of ours (`quic_bulk`): the README says why this one stays.  What is used of its private parts is
used here, in `quic_bulk` and in `quic_congestion` alone.
"""

import io
import math
import ssl
from collections.abc import Callable
from typing import Any

from aioquic import tls
from aioquic.quic import events
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import END_STATES, Limit
from aioquic.quic.packet import QuicFrameType, QuicPacketType, QuicProtocolVersion
from aioquic.quic.packet_builder import QuicDeliveryState, QuicPacketBuilder

from .. import tls_certificate
from ..errors import HandshakeError
from ..peer_id import PeerId
from ..window import ReceiveWindow
from .quic_bulk import BulkConnection
from .quic_congestion import Pacer, Reno
from .quic_timers import QuicTimers

WINDOW = 256 * 1024
MAX_WINDOW = 16 * WINDOW
MAX_STREAMS = 256
CONNECTION_ID_LENGTH = 8
_SEND_BUFFER = 256 * 1024
_INITIAL_RTT = 0.1
_LARGER = 1452  # bytes of a datagram: with IPv6's and UDP's headers, 1500
_BULK = 64 * 1024  # bytes sent by a path, from which on larger datagrams are worth a try
_LONGEST_WAIT = 4.0  # seconds between two repetitions
_BLACK_HOLE = 2  # timeouts in a row, after which larger ones are taken to be lost on the way
_LARGE_LOST = 10  # the same, of larger ones in a row, while smaller ones arrive


class _KeyLog(io.StringIO):
    """Lines for a function, as aioquic writes them to a file."""

    def __init__(self, key_log: Callable[[str], None]) -> None:
        super().__init__()
        self._key_log = key_log

    def write(self, line: str, /) -> int:
        self._key_log(line.rstrip("\n"))
        return len(line)


def configuration(
    credentials: tls_certificate.Credentials,
    timers: QuicTimers,
    key_log: Callable[[str], None] | None = None,
    *,
    client: bool,
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
        secrets_log_file=_KeyLog(key_log) if key_log is not None else None,
        supported_versions=[QuicProtocolVersion.VERSION_1],
        verify_mode=ssl.CERT_NONE,
    )


class Engine(BulkConnection):
    """The server asks the client for a certificate, and a stream's window follows its reader.

    (aioquic widens it without end.)  Unread bytes stay within `ReceiveWindow.size`.  Where much is
    sent, one larger datagram is tried, and if it arrives all are as large (RFC 9000 section 14.3).
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        size = self._max_datagram_size
        self._reno = self._loss._cc = Reno(max_datagram_size=size)
        self._loss._pacer = Pacer(self._reno, max_datagram_size=size)
        self._windows: dict[int, ReceiveWindow] = {}
        self._sized: Any | None = None  # the path for which the size of datagrams was tried
        self._local_max_streams_bidi = Limit(
            QuicFrameType.MAX_STREAMS_BIDI, "max_streams_bidi", MAX_STREAMS
        )
        self._local_max_streams_uni = Limit(QuicFrameType.MAX_STREAMS_UNI, "max_streams_uni", 0)

    def _initialize(self, peer_cid: bytes) -> None:
        super()._initialize(peer_cid)
        if not self._is_client:
            self.tls._request_client_certificate = True

    def consume(
        self, stream_id: int, count: int, now: float, promise: Callable[[int], bool]
    ) -> bool:
        """The user took bytes of a stream; whether the remote is to be told of more room."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return False
        if stream_id not in self._windows:
            self._windows[stream_id] = ReceiveWindow(WINDOW, MAX_WINDOW)
        window, trip = self._windows[stream_id], self._loss._rtt_min
        given = window.consume(count, now, trip if math.isfinite(trip) else 0.0, promise)
        stream.max_stream_data_local += given
        return given > 0

    def forget_window(self, stream_id: int) -> int:
        """Nobody reads the stream any more; by how much its window had grown."""
        window = self._windows.pop(stream_id, None)
        return window.grown if window is not None else 0

    @property
    def send_buffer(self) -> int:
        """Bytes that a stream may have written and not delivered: what is under way, and as much.

        What the congestion window would let go at once is never waited for.
        """
        return max(_SEND_BUFFER, 2 * self._loss.congestion_window)

    def _write_stream_limits(self, builder: Any, space: Any, stream: Any) -> None:  # noqa: ARG002
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

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, Any]]:
        """As aioquic's, and perhaps a larger datagram."""
        if self._state in END_STATES:
            return []
        path = self._network_paths[0]
        if self._max_datagram_size > SMALLEST_MAX_DATAGRAM_SIZE and (
            path is not self._sized
            or self._loss._pto_count >= _BLACK_HOLE
            or self._reno.large_lost >= _LARGE_LOST
        ):
            self._resize(SMALLEST_MAX_DATAGRAM_SIZE)
        found = self.bulk_to_send(now)
        found += super().datagrams_to_send(now)
        ready = self._handshake_confirmed and path.is_validated and not self._close_pending
        if path is not self._sized and path.bytes_sent >= _BULK and ready:
            self._sized = path
            found += self._try_larger(path, now)
        return found

    def handle_timer(self, now: float) -> None:
        """As aioquic's; what is not acknowledged is repeated at least every few seconds.

        Each timeout doubles the wait for the next, without end, and a bad link soon makes minutes
        of it.  The connection may be alive all the while: the remote's PINGs come through.
        """
        super().handle_timer(now)
        loss = self._loss
        if self._handshake_confirmed and loss._pto_count:
            most = math.log2(max(1.0, _LONGEST_WAIT / loss.get_probe_timeout()))
            loss._pto_count = min(loss._pto_count, max(_BLACK_HOLE, int(most)))

    def _try_larger(self, path: Any, now: float) -> list[tuple[bytes, Any]]:
        """Its loss is no sign of congestion (RFC 9000 section 14.4), and it carries no data."""
        assert self._version is not None, "the handshake is confirmed"
        builder = QuicPacketBuilder(
            host_cid=self.host_cid,
            is_client=self._is_client,
            max_datagram_size=_LARGER,
            packet_number=self._packet_number,
            peer_cid=self._peer_cid.cid,
            spin_bit=self._spin_bit,
            version=self._version,
        )
        builder.start_packet(QuicPacketType.ONE_RTT, self._cryptos[tls.Epoch.ONE_RTT])
        frame = builder.start_frame(
            QuicFrameType.PING, handler=self._on_larger, handler_args=(path,)
        )
        frame.push_bytes(bytes(builder.remaining_buffer_space))  # PADDING
        packet: Any = builder._packet
        packet.in_flight = False
        return self._flush_builder(
            builder=builder, network_path=path, peer_cid=self._peer_cid.cid, now=now
        )

    def _on_larger(self, delivery: QuicDeliveryState, path: Any) -> None:
        if delivery == QuicDeliveryState.ACKED and path is self._network_paths[0]:
            self._resize(_LARGER)

    def _resize(self, size: int) -> None:
        parts: tuple[Any, ...] = (self, self._loss._pacer, self._loss._cc)
        for part in parts:
            part._max_datagram_size = size

    def peer_identity(self) -> PeerId:
        """Check the remote's certificate.  Raises HandshakeError."""
        certificate = self.tls._peer_certificate
        if certificate is None:
            raise HandshakeError("tls", "the remote sent no certificate")
        if self.tls._peer_certificate_chain:
            raise HandshakeError("tls", "the remote sent more than one certificate")
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
