"""How much a QUIC connection has under way, and in what bursts it sends: RFC 9002 with RFC 9406.

aioquic's NewReno leaves slow start for good when five round trips in a row are longer than usual,
which a busy machine's scheduler makes of any path; over a long one the window then grows by one
datagram a round trip, and never becomes what the path carries.  HyStart++ grows more slowly at such
a sign, and goes on as before when it proves wrong.
"""

import math
from collections.abc import Iterable

from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE
from aioquic.quic.congestion.reno import RenoCongestionControl
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.quic.recovery import QuicPacketPacer

# RFC 9406 section 4.3; its L is without a limit where one paces, as we do.
_MIN_THRESHOLD, _MAX_THRESHOLD = 0.004, 0.016  # seconds by which a round trip has to be longer
_DIVISOR = 8  # the share of it that this is in between
_SAMPLES = 8
_CSS_GROWTH_DIVISOR = 4
_CSS_ROUNDS = 5

_GAIN = 1.25  # RFC 9002 section 7.7: so that a round trip that varies leaves nothing unused
_START_GAIN = 2.0  # in slow start, where the window is to double within a round trip
_TICK = 0.005  # seconds between two turns of a busy loop: a burst is what is due in them
_LEAST_BURST, _MOST_BURST = 16, 64  # datagrams


class HyStart:
    """When slow start is over: RFC 9406.  Times are seconds."""

    def __init__(self) -> None:
        self.over = False
        self._end = -1  # the last packet of this round
        self._last = self._current = math.inf  # the shortest round trips of two rounds
        self._samples = 0
        self._baseline = math.inf  # of the conservative part; without one it is not under way
        self._rounds = 0

    @property
    def divisor(self) -> int:
        """By which the growth is divided."""
        return _CSS_GROWTH_DIVISOR if self._baseline < math.inf else 1

    def acked(self, number: int, latest_sent: int) -> bool:
        """A packet has arrived, `latest_sent` is the last so far; whether a round begins."""
        if number <= self._end:
            return False
        self._end = latest_sent
        self._last, self._current = self._current, math.inf
        self._samples = 0
        if self._baseline < math.inf:
            self._rounds += 1
            self.over = self.over or self._rounds >= _CSS_ROUNDS
        return True

    def measured(self, round_trip: float) -> None:
        """One more round trip of this round."""
        self._current = min(self._current, round_trip)
        self._samples += 1
        if self._samples < _SAMPLES:
            return
        if self._baseline < math.inf:
            if self._current < self._baseline:
                self._baseline = math.inf  # it was no queue
        elif self._last < math.inf:
            more = min(max(self._last / _DIVISOR, _MIN_THRESHOLD), _MAX_THRESHOLD)
            if self._current >= self._last + more:
                self._baseline, self._rounds = self._current, 0


class Reno(RenoCongestionControl):
    """aioquic's NewReno with HyStart++; counts the large packets lost since one arrived."""

    large_lost = 0

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._start = HyStart()
        self._latest = -1
        self._peaks = [0, 0]  # the most that was under way, of the last round and this

    @property
    def starting(self) -> bool:
        """Whether this is slow start."""
        return self.ssthresh is None or self.congestion_window < self.ssthresh

    def on_packet_sent(self, *, packet: QuicSentPacket) -> None:
        self._latest = packet.packet_number
        self.bytes_in_flight += packet.sent_bytes
        self._peaks[1] = max(self._peaks[1], self.bytes_in_flight)

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        if packet.sent_bytes > SMALLEST_MAX_DATAGRAM_SIZE:
            self.large_lost = 0
        if self.ssthresh is not None:
            super().on_packet_acked(now=now, packet=packet)
            return
        self.bytes_in_flight -= packet.sent_bytes
        if self._start.acked(packet.packet_number, self._latest):
            self._peaks = [self._peaks[1], self.bytes_in_flight]
        if 2 * max(self._peaks) > self.congestion_window:  # RFC 9002 section 7.8: it is used
            self.congestion_window += packet.sent_bytes // self._start.divisor

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        lost = list(packets)
        self.large_lost += sum(one.sent_bytes > SMALLEST_MAX_DATAGRAM_SIZE for one in lost)
        super().on_packets_lost(now=now, packets=lost)

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:  # noqa: ARG002
        if self.ssthresh is None:
            self._start.measured(rtt)
            if self._start.over:
                self.ssthresh = self.congestion_window


class Pacer(QuicPacketPacer):
    """aioquic's with RFC 9002's gain, and bursts as long as the loop's timers are late.

    A loop that wakes every few milliseconds with 16 datagrams for each sends no more than that.
    """

    def __init__(self, control: Reno, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._control = control

    def update_rate(self, congestion_window: int, smoothed_rtt: float) -> None:
        gain = _START_GAIN if self._control.starting else _GAIN
        super().update_rate(int(congestion_window * gain), smoothed_rtt)
        assert self.packet_time is not None
        due = min(max(_TICK / self.packet_time, _LEAST_BURST), _MOST_BURST)
        allowed = max(2.0, min(congestion_window / 4 / self._max_datagram_size, due))
        self.bucket_max = allowed * self.packet_time
        self.bucket_time = min(self.bucket_time, self.bucket_max)
