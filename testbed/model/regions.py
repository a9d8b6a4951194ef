"""The regions of the internet, and how long a packet takes from each to each other."""

from collections.abc import Mapping
from functools import cached_property

from testbed.model.frozen import FrozenValue


class Regions(FrozenValue):
    """``pairs``: of two regions, the round trip between their cores in ms."""

    pairs: tuple[tuple[str, str, float], ...] = ()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """In order of appearance."""
        return tuple(dict.fromkeys(name for one, other, _ in self.pairs for name in (one, other)))

    @cached_property
    def _by_pair(self) -> Mapping[frozenset[str], float]:
        return {frozenset((one, other)): rtt_ms for one, other, rtt_ms in self.pairs}

    def at_one_place(self) -> "Regions":
        """The same without any delay."""
        return Regions(tuple((one, other, 0.0) for one, other, _ in self.pairs))

    def round_trip_ms(self, one: str | None, other: str | None) -> float:
        """0 within a region, and where there are none."""
        if one is None or other is None or one == other:
            return 0.0
        return self._by_pair[frozenset((one, other))]


NOWHERE = Regions()
