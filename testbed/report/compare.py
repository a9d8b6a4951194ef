"""What changed between two runs of a matrix, or between one and its golden file."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from testbed.errors import Exit, UsageError
from testbed.model.chance import shift, wilson
from testbed.model.frozen import FrozenValue
from testbed.naming import instead
from testbed.report.delays import FACTOR, Delay, delays
from testbed.report.recorded import Pair, Recorded

FORMAT = 1


class Kind(StrEnum):
    """What a difference means; those that come first are shown first."""

    WORSE = "worse"  # it fails now, or fewer get through
    GONE = "gone"  # only in the old one
    CHANGED = "changed"  # another cause or prediction, which is neither better nor worse
    BETTER = "better"
    ADDED = "added"  # only in the new one
    CHANCE = "chance"  # repetitions differ, but not by more than they may


@dataclass(frozen=True, slots=True)
class Aspect:
    """One thing that two sides say of a pair: how many repetitions gave which value."""

    name: str  # "judgement", "measured", "predicted", "cause"
    old: Counter[str]
    new: Counter[str]

    @property
    def differs(self) -> bool:
        """Are the shares other ones?  Perhaps by chance."""
        return any(self.old[v] * self.new.total() != self.new[v] * self.old.total() for v in self)

    @property
    def moved(self) -> bool:
        """Are they, by more than chance?"""
        return any(self.shift(value) for value in self)

    def shift(self, *values: str) -> int:
        """Did their share rise (1) or fall (-1) by more than chance?"""
        old, new = (sum(side[value] for value in values) for side in (self.old, self.new))
        return shift((old, self.old.total()), (new, self.new.total()))

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self.old, *self.new]))

    def __str__(self) -> str:
        return f"{tally(self.old)} -> {tally(self.new)}"

    def to_json(self) -> dict[str, Any]:
        """Counts of each side, and the bounds of each rate (`wilson`)."""
        return {
            side: {
                value: {
                    "count": count,
                    "of": counts.total(),
                    "bounds": [round(bound, 4) for bound in wilson(count, counts.total())],
                }
                for value, count in counts.items()
            }
            for side, counts in (("old", self.old), ("new", self.new))
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """A pair that is not as it was.  ``folder`` holds the packets of a run that shows it."""

    pair: str
    kind: Kind
    aspects: tuple[Aspect, ...] = ()
    folder: str | None = None

    def to_json(self) -> dict[str, Any]:
        said = {aspect.name: aspect.to_json() for aspect in self.aspects}
        return {"pair": self.pair, "kind": self.kind.value, "folder": self.folder, **said}


class Comparison(FrozenValue):
    """All that differs.  ``unclear``: pairs with inconclusive repetitions, and on which side."""

    old: Path
    new: Path
    compared: int  # pairs of which both sides have a conclusive repetition
    differences: tuple[Difference, ...]
    delays: tuple[Delay, ...]
    unclear: Mapping[str, str]
    facts: Mapping[str, tuple[str | None, str | None]]  # versions that differ: old, new
    times_count: bool  # is a slower one a difference?

    def of(self, kind: Kind) -> tuple[Difference, ...]:
        return tuple(d for d in self.differences if d.kind is kind)

    @property
    def exit_code(self) -> Exit:
        slower = self.times_count and any(delay.factor > 1 for delay in self.delays)
        if slower or any(d.kind is not Kind.CHANCE for d in self.differences):
            return Exit.DIFFERS
        return Exit.INCONCLUSIVE if self.unclear else Exit.AGREED

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "old": str(self.old),
            "new": str(self.new),
            "compared": self.compared,
            "counts": {kind.value: len(self.of(kind)) for kind in Kind},
            "differences": [difference.to_json() for difference in self.differences],
            "times": [delay.to_json() for delay in self.delays],
            "inconclusive": dict(self.unclear),
            "facts": {name: list(values) for name, values in self.facts.items()},
            "exit_code": int(self.exit_code),
        }


def compare(
    old: Recorded, new: Recorded, *, select: Sequence[str] = (), factor: float | None = None
) -> Comparison:
    """Compare pair by pair those that match one of ``select``, or all.

    ``factor`` > 1: by which a median time must differ, and then a slower one counts.
    Without it times are only told, from `FACTOR` on.  UsageError where there is nothing
    to compare.
    """
    for pattern in select:
        if not (_selected(old, [pattern]) or _selected(new, [pattern])):
            remedy = instead(pattern, [*old.pairs, *new.pairs])
            raise UsageError(f"--select {pattern!r} matches no pair", remedy=remedy)
    before, after = _selected(old, select), _selected(new, select)
    both = [name for name in before if name in after]
    if not both:
        which = f" that matches {' or '.join(select)}" if select else ""
        raise UsageError(
            f"{old.path} and {new.path} have no pair in common{which}",
            remedy="compare runs of the same stacks and profiles",
        )
    found = [_difference(before[name], after[name]) for name in both]
    found += [Difference(name, Kind.GONE) for name in before if name not in after]
    found += [_added(pair) for name, pair in after.items() if name not in before]
    order = list(Kind)
    differences = sorted((d for d in found if d), key=lambda d: order.index(d.kind))
    names = sorted(old.facts.keys() | new.facts.keys()) if old.facts and new.facts else ()
    facts = {name: (old.facts.get(name), new.facts.get(name)) for name in names}
    pairs = [(before[name], after[name]) for name in both]
    if factor is not None and not any(one.times and other.times for one, other in pairs):
        raise UsageError("--times has no effect: no pair has times on both sides")
    return Comparison(
        old.path,
        new.path,
        sum(bool(one.conclusive and other.conclusive) for one, other in pairs),
        tuple(differences),
        tuple(delays(pairs, factor or FACTOR)),
        {name: why for name in both if (why := _unclear(before[name], after[name]))},
        {name: values for name, values in facts.items() if values[0] != values[1]},
        factor is not None,
    )


def tally(counts: Counter[str]) -> str:
    """``direct``, ``direct 5/5`` or ``direct 4/5, none 1/5``."""
    total = counts.total()
    if total == 1:
        return next(iter(counts))
    return ", ".join(f"{value} {count}/{total}" for value, count in counts.most_common()) or "?"


def _selected(side: Recorded, patterns: Sequence[str]) -> dict[str, Pair]:
    return {
        name: pair
        for name, pair in side.pairs.items()
        if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
    }


def _difference(old: Pair, new: Pair) -> Difference | None:
    """What became of a pair; None where it is the same, or there is nothing to say."""
    if not old.conclusive or not new.conclusive:
        return None
    judgement = Aspect("judgement", old.judgements(), new.judgements())
    measured = Aspect("measured", old.measured(), new.measured())
    predicted = Aspect("predicted", old.predicted(), new.predicted())
    causes = Aspect("cause", old.causes() or Counter(), new.causes() or Counter())
    aspects = [judgement, measured, predicted, *([causes] if causes.old and causes.new else [])]
    told = tuple(aspect for aspect in aspects if aspect.differs)
    if not told:
        return None
    kind = _better_or_worse(judgement, measured, new.control)
    if kind is None:
        kind = Kind.CHANGED if any(aspect.moved for aspect in told) else Kind.CHANCE
    return Difference(new.name, kind, told, _folder(new))


def _better_or_worse(judgement: Aspect, measured: Aspect, control: bool) -> Kind | None:
    """By the judgement first, then by who gets through and how directly."""
    passed = judgement.shift("pass")
    through = measured.shift("direct", "relayed")
    direct = measured.shift("direct")
    for sign in (passed, *(() if control else (min(through, direct), max(through, direct)))):
        if sign:
            return Kind.BETTER if sign > 0 else Kind.WORSE
    return None


def _added(pair: Pair) -> Difference:
    return Difference(pair.name, Kind.ADDED, folder=_folder(pair))


def _folder(pair: Pair) -> str | None:
    """Of the repetition that is most worth a look: one that failed, or of the rarer outcome."""
    rare = pair.measured()
    runs = sorted(
        pair.conclusive or pair.runs,
        key=lambda run: (run.judgement == "pass", rare[run.measured or ""]),
    )
    return runs[0].folder


def _unclear(old: Pair, new: Pair) -> str | None:
    """Which repetitions could not be compared."""
    said = []
    for side, pair in (("old", old), ("new", new)):
        if lost := len(pair.runs) - len(pair.conclusive):
            why = next(run.reason for run in pair.runs if run not in pair.conclusive)
            said.append(f"{side}: {lost} of {len(pair.runs)} inconclusive: {why}")
    return "; ".join(said) or None
