"""One direction of a link as a pure function of time: arrival in, departure out."""

from random import Random

from testbed.lab.links.base import IN_FLIGHT, QUEUE_MS
from testbed.model.topology import Impairment

_MS = 1_000_000  # nanoseconds
_QUEUE = int(QUEUE_MS * _MS)


class Direction:
    """Decides when a frame leaves, or that it never does.  Times are nanoseconds.

    Loss and jitter draw from generators of their own, made from ``seed`` alone, so
    the n-th frame meets the same fate in every run, whatever else is set.
    """

    def __init__(self, impairment: Impairment, seed: str) -> None:
        self._losing = Random(f"{seed}/loss")
        self._wavering = Random(f"{seed}/jitter")
        self._line_free = 0
        self._last_due = 0
        self.cut = False
        self.in_flight = 0
        self.forwarded = self.lost = self.overflowed = self.severed = 0
        self.set(impairment)

    def set(self, impairment: Impairment) -> None:
        """Impair the following frames so; those on their way keep their departure."""
        self._delay = round(impairment.delay_ms * _MS)
        self._jitter = impairment.jitter_ms * _MS
        self._loss = impairment.loss
        # 1 Mbit/s takes 8000 ns a byte.
        self._byte = 8000 / impairment.rate_mbit if impairment.rate_mbit is not None else 0.0
        self._line_free = 0

    def admit(self, arrival: int, length: int) -> int | None:
        """When the frame of ``length`` bytes is due at the far end; None if it is dropped."""
        if self.cut:
            self.severed += 1
            return None
        if self._loss and self._losing.random() < self._loss:
            self.lost += 1
            return None
        if self.in_flight >= IN_FLIGHT:
            self.overflowed += 1
            return None
        due = arrival
        if self._byte:
            start = max(arrival, self._line_free)
            if start - arrival > _QUEUE:
                self.overflowed += 1
                return None
            self._line_free = due = start + round(length * self._byte)
        due += self._delay
        if self._jitter:
            due += round(self._wavering.uniform(-self._jitter, self._jitter))
        self._last_due = due = max(due, self._last_due)
        self.in_flight += 1
        return due

    def delivered(self) -> None:
        """A frame that was admitted has left."""
        self.in_flight -= 1
        self.forwarded += 1
