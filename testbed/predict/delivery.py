"""Reliable delivery over a lossy way, as TCP and QUIC do it: messages arrive once, and in order.

One message is one packet: what peers say while they open connections fits into one.  Congestion
control is left out for the same reason.  Lost is a message of which nothing was heard for the
timeout (RFC 6298, RFC 8985 section 7, RFC 9002 section 6.2), or one that was overtaken by a
fraction of a round trip (RFC 8985 section 6, RFC 9002 section 6.1.2).
"""

from collections.abc import Callable
from dataclasses import dataclass

from testbed.model.frozen import FrozenValue
from testbed.predict.network import Network
from testbed.predict.packet import Carried, Message


class Timing(FrozenValue):
    """How a transport waits for an answer.  Times are seconds.

    ``unknown`` is the timeout of who has measured no round trip, ``floor`` the least margin over
    the smoothed one; ``probes``: a first repetition
    comes after two round trips (and ``lone`` more for a lone message) where that is earlier.
    A message that a later one overtook counts as lost after ``overtaken`` smoothed round trips;
    None: after the later one's own and a quarter of the least (RFC 8985 section 6.2).
    """

    unknown: float
    floor: float
    margin: float = 0.0  # on top, always
    probes: bool = False
    lone: float = 0.0
    overtaken: float | None = None


# Linux: TCP_TIMEOUT_INIT (RFC 6298 section 2.1), TCP_RTO_MIN, tcp_schedule_loss_probe().
TCP = Timing(unknown=1.0, floor=0.2, probes=True, lone=0.2)
# aioquic: twice the round trip that it begins with, kGranularity, max_ack_delay (RFC 9002).
QUIC = Timing(unknown=0.2, floor=0.001, margin=0.025, overtaken=1.25)


@dataclass
class _Sent:
    message: Message
    at: float
    order: int  # of all that was sent
    again: bool = False


class Delivery:
    """One end of a connection.  ``emit`` sends a packet, ``deliver`` takes a message in."""

    def __init__(
        self,
        network: Network,
        emit: Callable[[Carried], None],
        deliver: Callable[[Message], None],
        timing: Timing,
        round_trip: float | None,
    ) -> None:
        self._network, self._emit_packet, self._deliver = network, emit, deliver
        self._timing = timing
        self._smoothed = round_trip
        self._variance = self._deviation = (round_trip or 0.0) / 2
        self._waiting: dict[int, _Sent] = {}  # for an acknowledgement, by number
        self._next = self._expected = 0
        self._early: dict[int, Message] = {}
        self._order = 0
        self._latest = 0  # the order of the latest that was acknowledged
        self._took = self._least = round_trip or 0.0  # that one's round trip, and the least of all
        self._fruitless = 0  # timeouts in a row
        self._timer = 0  # the number of the one that counts
        self._owes = False  # an acknowledgement
        self.over = False

    def send(self, message: Message) -> None:
        number, self._next = self._next, self._next + 1
        self._order += 1
        self._waiting[number] = _Sent(message, self._network.now, self._order)
        self._emit(number)
        self._arm()

    def take(self, carried: Carried) -> None:
        """A packet of the other end."""
        self._acknowledged(carried)
        if carried.message is None:
            return
        self._owes = True
        if carried.number >= self._expected:
            self._early[carried.number] = carried.message
        while self._expected in self._early and not self.over:
            message = self._early.pop(self._expected)
            self._expected += 1
            self._deliver(message)
        if self._owes and not self.over:
            self._emit(-1)

    def _emit(self, number: int) -> None:
        self._owes = False
        message = self._waiting[number].message if number >= 0 else None
        self._emit_packet(Carried(message, number, self._expected, tuple(self._early)))

    def _again(self, number: int) -> None:
        sent = self._waiting[number]
        self._order += 1
        sent.at, sent.order, sent.again = self._network.now, self._order, True
        self._emit(number)

    # -- what is heard of our own -----------------------------------------

    def _acknowledged(self, carried: Carried) -> None:
        heard = [n for n in self._waiting if n < carried.upto or n in carried.early]
        if not heard:
            return
        for number in heard:
            sent = self._waiting.pop(number)
            took = self._network.now - sent.at
            if sent.order > self._latest:
                self._latest, self._took = sent.order, took
            if not sent.again:
                self._measured(took)
        self._fruitless = 0
        self._repeat_overtaken()
        self._arm()

    def _measured(self, round_trip: float) -> None:
        """RFC 6298 section 2, RFC 9002 section 5.3."""
        if self._smoothed is None:
            self._smoothed, self._variance = round_trip, round_trip / 2
            self._deviation = self._variance
            self._least = round_trip
            return
        self._least = min(self._least, round_trip)
        self._deviation += (abs(self._smoothed - round_trip) - self._deviation) / 4
        if self._timing.probes and self._deviation < self._variance:
            self._variance += (self._deviation - self._variance) / 4  # as Linux forgets
        else:
            self._variance = self._deviation
        self._smoothed += (round_trip - self._smoothed) / 8

    def _repeat_overtaken(self) -> None:
        if self.over or self._smoothed is None:
            return
        now, patience = self._network.now, self._took + self._least / 4
        if self._timing.overtaken is not None:
            patience = self._timing.overtaken * self._smoothed
        for number, sent in list(self._waiting.items()):
            if sent.order >= self._latest:
                continue
            if now >= sent.at + patience:
                self._again(number)
            else:
                self._network.at(sent.at + patience, self._repeat_overtaken)

    # -- what nothing is heard of -----------------------------------------

    def _timeout(self) -> float:
        if self._smoothed is None:
            return self._timing.unknown * 2.0**self._fruitless
        timing = self._timing
        usual = self._smoothed + max(4 * self._variance, timing.floor) + timing.margin
        if not timing.probes:
            return usual * 2.0**self._fruitless
        if self._fruitless == 0:
            lone = timing.lone if len(self._waiting) == 1 else 0.0
            return min(usual, 2 * self._smoothed + lone)
        return usual * 2.0 ** (self._fruitless - 1)

    def _arm(self) -> None:
        self._timer += 1
        timer = self._timer
        if self._waiting and not self.over:
            self._network.at(self._network.now + self._timeout(), lambda: self._expired(timer))

    def _expired(self, timer: int) -> None:
        if timer != self._timer or self.over or not self._waiting:
            return
        probing = self._timing.probes and self._fruitless == 0
        self._fruitless += 1
        self._again(max(self._waiting) if probing else min(self._waiting))
        self._arm()
