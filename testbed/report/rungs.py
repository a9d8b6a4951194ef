"""Which rung of the ladder carried the connections of a matrix, and how long that took."""

from collections.abc import Iterator, Sequence
from statistics import median

from testbed.model.frozen import FrozenValue
from testbed.model.outcome import Rung
from testbed.model.result import Result

HEAD = ("stack", "rung", "cells", "as predicted", "by a mapped port", "first byte", "final path")
_ORDER = (*Rung, None)


class RungSummary(FrozenValue):
    """All cells of a stack that one rung carried; the times are medians in ms."""

    stack: str
    rung: str | None
    cells: int
    predicted: int
    mapped: int
    first_byte_ms: float | None
    final_ms: float | None

    @property
    def words(self) -> tuple[str, ...]:
        """One for each column of `HEAD`."""
        times = (_time(self.first_byte_ms), _time(self.final_ms))
        counts = (str(self.cells), str(self.predicted), str(self.mapped))
        return (self.stack, self.rung or "none", *counts, *times)


def summaries(rows: Sequence[Result]) -> Iterator[RungSummary]:
    """For each stack that climbs a ladder, each rung that was measured, the best first."""
    climbed = [row for row in rows if row.rung and row.mode == "punch"]
    for stack in dict.fromkeys(row.stack for row in climbed):
        for rung in _ORDER:
            some = [
                row.rung
                for row in climbed
                if row.stack == stack and row.rung and row.rung.measured is rung
            ]
            if some:
                yield RungSummary(
                    stack,
                    rung,
                    len(some),
                    sum(one.predicted is rung for one in some),
                    sum(one.mapped is not None for one in some),
                    _median([one.first_byte_ms for one in some]),
                    _median([one.final_ms for one in some]),
                )


def _median(all_times: Sequence[float | None]) -> float | None:
    times = [one for one in all_times if one is not None]
    return median(times) if times else None


def _time(ms: float | None) -> str:
    return "" if ms is None else f"{ms:.0f} ms"
