"""The common case of QUIC in few steps: full packets of one stream, once a connection stands.

Three quarters of the time that aioquic spends on such a packet are questions whose answers are the
same for all of a batch: what else is to be sent, which path, which keys, which limits.  Here they
are asked once.  What is not the common case is left to aioquic, before anything was changed.
"""

from typing import Any

from aioquic import tls
from aioquic._crypto import AEAD_NONCE_LENGTH
from aioquic.buffer import Buffer, encode_uint_var  # type: ignore[attr-defined]
from aioquic.quic import events
from aioquic.quic.connection import (
    END_STATES,
    Limit,
    QuicConnection,
    QuicConnectionError,
    QuicConnectionState,
    QuicReceiveContext,
)
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicPacketType, decode_packet_number
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.recovery import MAX_ACK_RANGES, QuicPacketSpace
from aioquic.quic.stream import QuicStream
from cryptography.exceptions import InvalidTag

_ONE_RTT = tls.Epoch.ONE_RTT
_SHORT, _FORM = 0x40, 0xC0  # the first byte of a short header, and the bits that say so
_RESERVED, _PHASE, _SPIN = 0x18, 0x04, 0x20
_SAMPLE, _TAG = 16, 16
_STREAM, _STREAM_KIND, _FIN, _LENGTH, _OFFSET = 0x08, 0xF8, 1, 2, 4
_NUMBER = 2  # bytes of a packet number, as aioquic sends it

Datagrams = list[tuple[bytes, Any]]


class BulkConnection(QuicConnection):
    """aioquic's connection; the data of several packets in a row may be one event."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._run: events.StreamDataReceived | None = None  # the last event, if it may grow
        self._pieces: list[bytes] = []  # of that
        self._noted_at = -1.0  # when a packet last came
        self._keys: CryptoPair | None = None  # once they stand; enums are slow keys of dicts
        self._space = QuicPacketSpace()

    # Receiving.

    def receive_datagram(self, data: bytes, addr: Any, now: float) -> None:
        """As aioquic's."""
        cid = self.host_cid
        if (
            data[1 : 1 + len(cid)] != cid
            or data[0] & _FORM != _SHORT
            or not (now == self._noted_at or self._settled)
            or addr != self._network_paths[0].addr
            or not self._take(data, len(cid) + 1, now)
        ):
            self._noted_at = -1.0  # to be asked again
            super().receive_datagram(data, addr, now)

    def next_event(self) -> events.QuicEvent | None:
        """As aioquic's."""
        event = super().next_event()
        if event is self._run:
            self._end_run()
        return event

    @property
    def _settled(self) -> bool:
        if self._keys is None and self._handshake_confirmed:
            self._keys, self._space = self._cryptos[_ONE_RTT], self._spaces[_ONE_RTT]
        return (
            self._keys is not None
            and self._state is QuicConnectionState.CONNECTED
            and not self._close_pending
            and len(self._network_paths) == 1
            and self._network_paths[0].is_validated
            and self._quic_logger is None
        )

    def _take(self, data: bytes, at: int, now: float) -> bool:
        """A short packet whose number is at `at`; False, and nothing has changed, if not taken."""
        assert self._keys is not None
        keys, space = self._keys.recv, self._space
        sample = data[at + 4 : at + 4 + _SAMPLE]
        if keys.aead is None or keys.hp is None or len(sample) < _SAMPLE:
            return False
        mask = keys.hp._mask(sample)
        first = data[0] ^ (mask[0] & 0x1F)
        if first & _RESERVED or bool(first & _PHASE) != bool(keys.key_phase):
            return False
        body = at + (first & 3) + 1
        truncated = int.from_bytes(data[at:body]) ^ int.from_bytes(mask[1 : 1 + body - at])
        number = decode_packet_number(truncated, 8 * (body - at), space.expected_packet_number)
        header = b"%c%b%b" % (first, data[1:at], truncated.to_bytes(body - at))
        nonce = (keys.aead._iv ^ number).to_bytes(AEAD_NONCE_LENGTH)
        try:
            plain = keys.aead._aead.decrypt(nonce, data[body:], header)
        except InvalidTag:
            return False
        if number in space.received_packets:
            return True  # twice: RFC 9000 section 12.3
        eliciting = self._take_stream(plain) or self._take_others(plain, now)
        if self._state in END_STATES or self._close_pending:
            self._noted_at = -1.0
            return True
        self._note(number, space, bool(first & _SPIN), now)
        if eliciting and space.ack_at is None:
            space.ack_at = now + self._ack_delay
        return True

    def _take_others(self, plain: bytes, now: float) -> bool:
        """Any payload, as aioquic does; whether it elicits an acknowledgement."""
        context = QuicReceiveContext(
            epoch=_ONE_RTT,
            host_cid=self.host_cid,
            network_path=self._network_paths[0],
            quic_logger_frames=None,
            time=now,
            version=self._version,
        )
        try:
            return self._payload_received(context, plain)[0]
        except QuicConnectionError as error:
            self.close(
                error_code=error.error_code,
                frame_type=error.frame_type,
                reason_phrase=error.reason_phrase,
            )
            return False

    def _take_stream(self, plain: bytes) -> bool:
        """A payload that is one STREAM frame with the bytes that are next; else nothing changes."""
        frame = Buffer(data=plain)
        try:
            kind = frame.pull_uint8()
            if kind & _STREAM_KIND != _STREAM:
                return False
            stream_id = frame.pull_uint_var()
            offset = frame.pull_uint_var() if kind & _OFFSET else 0
            length = frame.pull_uint_var() if kind & _LENGTH else len(plain) - frame.tell()
        except ValueError:
            return False
        stream = self._streams.get(stream_id)
        if kind & _FIN or stream is None or frame.tell() + length != len(plain) or not length:
            return False
        receiver, most = stream.receiver, self._local_max_data
        end = offset + length
        if (
            offset != receiver._buffer_start
            or offset != receiver.highest_offset
            or receiver._buffer
            or receiver.is_finished
            or receiver._final_size is not None
            or end > stream.max_stream_data_local
            or most.used + length > most.value
        ):
            return False
        receiver._buffer_start = receiver.highest_offset = end
        most.used += length
        self._lengthen(stream_id, plain[-length:])
        return True

    def _lengthen(self, stream_id: int, data: bytes) -> None:
        """One more piece of the last event, or of a new one."""
        run = self._run
        if run is None or run.stream_id != stream_id or self._events[-1] is not run:
            self._end_run()
            run = events.StreamDataReceived(data=b"", end_stream=False, stream_id=stream_id)
            self._run = run
            self._events.append(run)
        self._pieces.append(data)

    def _end_run(self) -> None:
        if self._run is not None:
            self._run.data = b"".join(self._pieces)
            self._run, self._pieces = None, []

    def _note(self, number: int, space: Any, spin: bool, now: float) -> None:
        """What aioquic remembers of a packet."""
        if number > space.expected_packet_number:
            space.expected_packet_number = number + 1
        if number > self._spin_highest_pn:
            self._spin_bit = spin != self._is_client
            self._spin_highest_pn = number
        if now != self._noted_at:
            self._noted_at = now
            self._close_at = now + self._idle_timeout()
        self._ack_eliciting_sent_since_receipt = False
        if number > space.largest_received_packet:
            space.largest_received_packet = number
            space.largest_received_time = now
        space.ack_queue.add(number)
        space.received_packets.add(number)
        if len(space.ack_queue) > MAX_ACK_RANGES:
            space.ack_queue.shift()

    # Sending.

    def bulk_to_send(self, now: float) -> Datagrams:
        """Full datagrams of the only stream that has data, where there is nothing else to say.

        `datagrams_to_send` is to follow: acknowledgements, the rest of the data, and timers.
        """
        stream = self._sole_writer() if self._settled and not self._has_words else None
        return self._fill(stream, now) if stream is not None else []

    @property
    def _has_words(self) -> bool:
        """Whether frames besides a stream's data and acknowledgements are due."""
        path, most = self._network_paths[0], self._local_max_data
        assert self._keys is not None
        return bool(
            self._ping_pending
            or self._probe_pending
            or self._datagrams_pending
            or self._handshake_done_pending
            or self._retire_connection_ids
            or self._streams_blocked_pending
            or path.remote_challenges
            or self._remote_preferred_address
            or self._keys._update_key_requested
            or not self._crypto_streams[_ONE_RTT].sender.buffer_is_empty
            or most.used * 2 > most.value
            or most.value != most.sent
            or _is_due(self._local_max_streams_bidi)
            or _is_due(self._local_max_streams_uni)
            or not all(cid.was_sent for cid in self._host_cids)
        )

    def _sole_writer(self) -> QuicStream | None:
        """None also where a stream has other things to say, or is to be forgotten."""
        for stream in self._streams.values():
            if stream.max_stream_data_local_sent != stream.max_stream_data_local:
                return None
        found = None
        for stream in self._streams_queue:
            sender = stream.sender
            if sender.reset_pending or stream.receiver.stop_pending or stream.is_finished:
                return None
            if not stream.is_blocked and not sender.buffer_is_empty:
                if found is not None:
                    return None
                found = stream
        return found

    def _fill(self, stream: QuicStream, now: float) -> Datagrams:
        """As many as the windows and the pacer let go; the stream's last bytes are left."""
        sender, loss, size = stream.sender, self._loss, self._max_datagram_size
        if not len(sender._pending):
            return []
        ready = sender._pending[0]
        fresh = self._remote_max_data - self._remote_max_data_used
        most = min(ready.stop - 1, sender.highest_offset + fresh, stream.max_stream_data_remote)
        room = loss.congestion_window - loss.bytes_in_flight
        name, space = encode_uint_var(stream.stream_id or 0), self._space
        packets: list[tuple[int, bytes]] = []
        start = ready.start
        while room >= size and loss._pacer.next_send_time(now=now) is None:
            where = encode_uint_var(start) if start else b""
            length = size - 1 - len(self._peer_cid.cid) - _NUMBER - _TAG - 3 - len(name + where)
            stop = start + length
            if stop > most:
                break
            kind = _STREAM | _LENGTH | (_OFFSET if start else 0)
            head = b"%c%b%b%b" % (kind, name, where, (length | 0x4000).to_bytes(2))
            first = sender._buffer_start
            packets.append(
                (self._packet_number, head + sender._buffer[start - first : stop - first])
            )
            packet = _sent(self._packet_number, now, size)
            packet.delivery_handlers.append((sender.on_data_delivery, (start, stop, False)))
            loss.on_packet_sent(packet=packet, space=space)
            loss._pacer.update_after_send(now=now)
            self._packet_number += 1
            room -= size
            start = stop
        if not packets:
            return []
        sender._pending.subtract(ready.start, start)
        self._remote_max_data_used += max(0, start - sender.highest_offset)
        sender.highest_offset = max(sender.highest_offset, start)
        return self._seal(packets, now)

    def _seal(self, packets: list[tuple[int, bytes]], now: float) -> Datagrams:
        pair, cid, path = self._keys, self._peer_cid.cid, self._network_paths[0]
        assert pair is not None
        first = _SHORT | (self._spin_bit << 5) | (pair.key_phase << 2) | (_NUMBER - 1)
        aead, protection = pair.send.aead, pair.send.hp
        assert aead is not None
        assert protection is not None
        start = bytes((first,)) + cid
        sealed = [
            aead._aead.encrypt(
                (aead._iv ^ number).to_bytes(AEAD_NONCE_LENGTH),
                plain,
                start + (number & 0xFFFF).to_bytes(_NUMBER),
            )
            for number, plain in packets
        ]
        found: Datagrams = []
        for (number, _), mask, body in zip(
            packets, _masks(protection, sealed), sealed, strict=True
        ):
            hidden = (number & 0xFFFF) ^ (mask[1] << 8 | mask[2])
            data = b"%c%b%b%b" % (first ^ (mask[0] & 0x1F), cid, hidden.to_bytes(_NUMBER), body)
            path.bytes_sent += len(data)
            found.append((data, path.addr))
        if not self._ack_eliciting_sent_since_receipt:
            self._close_at = now + self._idle_timeout()
            self._ack_eliciting_sent_since_receipt = True
        return found


def _masks(protection: Any, sealed: list[bytes]) -> list[bytes]:
    """RFC 9001 section 5.4.2; those of AES, which is a block cipher, in one call."""
    samples = [body[4 - _NUMBER : 4 - _NUMBER + _SAMPLE] for body in sealed]
    if protection._is_chacha20:
        return [protection._mask(sample) for sample in samples]
    masks = protection._encryptor.update(b"".join(samples))
    return [masks[at : at + _SAMPLE] for at in range(0, len(masks), _SAMPLE)]


def _sent(number: int, now: float, size: int) -> QuicSentPacket:
    return QuicSentPacket(
        _ONE_RTT, True, True, False, number, QuicPacketType.ONE_RTT, now, size
    )  # fmt: skip


def _is_due(limit: Limit) -> bool:
    """As aioquic decides it for MAX_STREAMS."""
    more = limit.value - limit.sent
    return more != 0 and limit.sent - limit.used < more
