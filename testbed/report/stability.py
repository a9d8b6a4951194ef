"""Pairs whose repetitions are not of one mind, with the rate at which they end as predicted.

What the harness could not judge is counted apart: it says nothing of the protocol.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from testbed.model.chance import wilson
from testbed.model.frozen import FrozenValue
from testbed.model.result import Result, Unstable, chances_of


class Stability(FrozenValue):
    """All repetitions of one pair."""

    pair: str
    passed: int
    judged: int  # of which it is known how they ended
    unjudged: int  # inconclusive: trouble of the harness or of the machine
    measured: tuple[tuple[str, int], ...]  # outcomes among the judged, the most frequent first

    @property
    def stable(self) -> bool:
        """Did all that could be judged end alike, and was there any?"""
        return bool(self.judged) and self.passed in (0, self.judged) and len(self.measured) == 1

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Of the rate of passing (`testbed.model.chance.wilson`, 95 %); None: nothing judged."""
        return wilson(self.passed, self.judged) if self.judged else None

    @property
    def words(self) -> tuple[str, str, str, str]:
        """As predicted, with its bounds; what was measured; what could not be judged."""
        low, high = self.bounds or (0.0, 1.0)
        ends = ", ".join(f"{outcome} {count}" for outcome, count in self.measured)
        rate = f"{self.passed} of {self.judged}"
        return rate, f"{low:.0%} to {high:.0%}", ends or "nothing", str(self.unjudged)

    def record(self) -> Unstable:
        """As the document of a run has it."""
        low, high = self.bounds or (0.0, 1.0)
        return Unstable(
            group=self.pair,
            passed=self.passed,
            judged=self.judged,
            unjudged=self.unjudged,
            bounds=(round(low, 4), round(high, 4)) if self.bounds else None,
            measured=dict(self.measured),
        )


def stabilities(rows: Sequence[Result]) -> Iterator[Stability]:
    """One for each pair, in the order of ``rows``."""
    pairs: dict[str, list[Result]] = {}
    for row in rows:
        pairs.setdefault(row.group, []).append(row)
    for pair, some in pairs.items():
        judged = [row for row in some if row.conclusive]
        passed = sum(row.judgement == "pass" for row in judged)
        ends = Counter(str(row.measured) for row in judged)
        unjudged = len(some) - len(judged)
        yield Stability(pair, passed, len(judged), unjudged, tuple(ends.most_common()))


def unstable(rows: Sequence[Result]) -> list[Stability]:
    """The pairs whose judged repetitions differ.  One of which none was judged is not known.

    Where chance decides, they may: their rates are held against the prediction instead.
    """
    sure = [row for row in rows if chances_of(row) is None]
    return [one for one in stabilities(sure) if one.judged and not one.stable]
