"""What chance does to the packets of one direction of a link: loss, jitter, copies, overtaking.

The same kinds of chance as the lab's links have (`testbed.model.topology.Impairment`), written
anew: the model shares no code with what it is held against.  A packet has no length here, so
that rates, their queues and `largest` are left out.
"""

from random import Random

from testbed.model.topology import Impairment


class Direction:
    """One direction of one link.  Times are seconds."""

    def __init__(self, way: Impairment, seed: str) -> None:
        self._way = way
        self._random = Random(seed)
        self._losing = False  # in a burst
        self._last = 0.0  # when the latest packet so far arrives: order is kept

    def arrivals(self, now: float) -> tuple[float, ...]:
        """When each copy of a packet that is sent ``now`` arrives; none: it is lost."""
        way = self._way
        if way.loss and self._is_lost():
            return ()
        at = now
        if not (way.reorder and self._random.random() < way.reorder):
            wave = self._random.uniform(-way.jitter_ms, way.jitter_ms) if way.jitter_ms else 0.0
            self._last = at = max(self._last, now + (way.delay_ms + wave) / 1000)
        twice = way.duplicate and self._random.random() < way.duplicate
        return (at, at) if twice else (at,)

    def _is_lost(self) -> bool:
        """Independently, or by Gilbert's two states: in one of them every packet is lost.

        E. N. Gilbert, "Capacity of a burst-noise channel", BSTJ 39 (1960), 1253-1265.  A burst
        ends with 1 / burst, so that it has so many packets on average, and begins so often
        that the share of lost packets is the link's loss.
        """
        way, drawn = self._way, self._random.random()
        if way.burst is None:
            return drawn < way.loss
        begins, ends = way.loss / (way.burst * (1 - way.loss)), 1 / way.burst
        self._losing = drawn >= ends if self._losing else drawn < begins
        return self._losing
