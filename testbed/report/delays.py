"""Times to connect that are other ones than before."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from testbed.model.chance import ALPHA, rank_test, sign_test
from testbed.report.recorded import Pair

FACTOR = 2.0  # by which a median must differ to be mentioned
LEAST_MS = 10.0  # less than that is what a busy machine makes of a time (`runner.LATE_MS`)


@dataclass(frozen=True, slots=True)
class Delay:
    """Another time to connect, of one pair or of all pairs of a stack (medians, ms)."""

    of: str
    old_ms: float
    new_ms: float
    factor: float  # new by old; of a stack the median of its pairs' factors
    chance: float  # how likely by chance alone

    def to_json(self) -> dict[str, Any]:
        return {
            "of": self.of,
            "old_ms": round(self.old_ms, 1),
            "new_ms": round(self.new_ms, 1),
            "factor": round(self.factor, 2),
            "chance": self.chance,
        }


def delays(pairs: Sequence[tuple[Pair, Pair]], factor: float) -> Iterator[Delay]:
    """Other times, of pairs with repetitions enough, then of whole stacks.

    Only of pairs that went the same way: a relayed connection takes its time for another
    reason than a direct one.
    """
    alike = [
        (old, new)
        for old, new in pairs
        if old.times and new.times and len({*old.measured(), *new.measured()}) == 1
    ]
    for old, new in alike:
        delay = Delay(
            new.name,
            median(old.times),
            median(new.times),
            median(new.times) / max(median(old.times), 1e-3),
            rank_test(old.times, new.times),
        )
        if _notable(delay, factor):
            yield delay
    for stack in dict.fromkeys(new.stack for _, new in alike):
        medians = [(median(o.times), median(n.times)) for o, n in alike if n.stack == stack]
        factors = [after / max(before, 1e-3) for before, after in medians]
        slower, faster = (sum(f > 1 for f in factors), sum(f < 1 for f in factors))
        delay = Delay(
            f"{stack}: {len(medians)} pairs",
            median(before for before, _ in medians),
            median(after for _, after in medians),
            median(factors),
            sign_test(slower, faster),
        )
        if _notable(delay, factor):
            yield delay


def _notable(delay: Delay, factor: float) -> bool:
    """Beyond ``factor``, beyond what a busy machine does to a time, and beyond chance."""
    far = max(delay.factor, 1 / max(delay.factor, 1e-9)) >= factor
    return far and abs(delay.new_ms - delay.old_ms) >= LEAST_MS and delay.chance <= ALPHA
