"""One direction of a link as a pure function of time: arrival in, departures out."""

from random import Random

from testbed.lab.links.base import IN_FLIGHT
from testbed.model.topology import Impairment

_MS = 1_000_000  # nanoseconds
_ETHERNET = 14  # bytes of a frame before its IP packet
_DROPPED: tuple[int, ...] = ()


class Direction:
    """Decides when a frame leaves, or that it never does.  Times are nanoseconds.

    Each kind of chance draws from a generator of its own, made from ``seed`` alone, so
    the n-th frame meets the same fate in every run, whatever else is set.
    """

    def __init__(self, impairment: Impairment, seed: str) -> None:
        self._losing = Random(f"{seed}/loss")
        self._wavering = Random(f"{seed}/jitter")
        self._overtaking = Random(f"{seed}/reorder")
        self._doubling = Random(f"{seed}/duplicate")
        self._line_free = 0
        self._last_due = 0
        self._in_burst = False
        self.cut = False
        self.in_flight = 0
        self.forwarded = self.lost = self.overflowed = self.severed = self.oversized = 0
        self.set(impairment)

    def set(self, impairment: Impairment) -> None:
        """Impair the following frames so; those on their way keep their departure."""
        self._delay = round(impairment.delay_ms * _MS)
        self._jitter = impairment.jitter_ms * _MS
        self._loss = impairment.loss
        self._burst = impairment.burst
        self._reorder = impairment.reorder
        self._duplicate = impairment.duplicate
        self._queue = round(impairment.queue_ms * _MS)
        self._longest = None if impairment.largest is None else impairment.largest + _ETHERNET
        # 1 Mbit/s takes 8000 ns a byte.
        self._byte = 8000 / impairment.rate_mbit if impairment.rate_mbit is not None else 0.0
        self._line_free = 0

    def admit(self, arrival: int, length: int) -> tuple[int, ...]:
        """When each copy of the frame of ``length`` bytes is due; none if it is dropped."""
        if self.cut:
            self.severed += 1
            return _DROPPED
        if self._loss and self._is_lost():
            self.lost += 1
            return _DROPPED
        if self._longest is not None and length > self._longest:
            self.oversized += 1
            return _DROPPED
        if self.in_flight >= IN_FLIGHT:
            self.overflowed += 1
            return _DROPPED
        due = arrival
        if self._byte:
            start = max(arrival, self._line_free)
            if start - arrival > self._queue:
                self.overflowed += 1
                return _DROPPED
            self._line_free = due = start + round(length * self._byte)
        due = self._delayed(due)
        copies = 2 if self._duplicate and self._doubling.random() < self._duplicate else 1
        self.in_flight += copies
        return (due,) * copies

    def _is_lost(self) -> bool:
        """Independently, or in bursts: Gilbert's two states, all frames lost in one of them."""
        drawn = self._losing.random()
        if self._burst is None:
            return drawn < self._loss
        if self._in_burst:
            self._in_burst = drawn >= 1 / self._burst
        else:
            self._in_burst = drawn < self._loss / (self._burst * (1 - self._loss))
        return self._in_burst

    def _delayed(self, due: int) -> int:
        if self._reorder and self._overtaking.random() < self._reorder:
            return due
        due += self._delay
        if self._jitter:
            due += round(self._wavering.uniform(-self._jitter, self._jitter))
        self._last_due = due = max(due, self._last_due)
        return due

    def delivered(self) -> None:
        """A copy of a frame that was admitted has left."""
        self.in_flight -= 1
        self.forwarded += 1
