"""What was recorded of a matrix: read back from ``results.json``, or from a golden file."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from testbed import foreign
from testbed.errors import UsageError
from testbed.model.details import Name
from testbed.model.explanation import Cause
from testbed.model.frozen import FrozenValue
from testbed.model.result import Result
from testbed.model.verdict import Judgement
from testbed.run.store import load

# How `testbed.studies.punch.cell.Cell.pair` marks the controls.
CONTROLS = ("plain_dial", "silent", "relay_only")
# Whose packet was the first to get in is a race, where both could; and so is whether its own
# side had sent by then, where the filter does not ask for that.  A filter that did not ask
# before is told by the controls: a plain dial gets in, too.
EITHER = frozenset({Cause.BOTH_OPENED, Cause.FILTER_ADMITS})
_RACE = " or ".join(sorted(EITHER))
_REMEDY = "name what `testbed matrix` or `testbed golden` has written, or its folder"


@dataclass(frozen=True, slots=True)
class Run:
    """One repetition of a pair."""

    judgement: Judgement
    measured: str | None
    predicted: str | None
    cause: str | None = None  # None: not explained
    node: str | None = None  # that the cause is at
    explained: bool = True  # False: explanations were not recorded at all
    connect_ms: float | None = None
    reason: str = ""
    folder: str | None = None

    @property
    def why(self) -> str:
        """The cause with its place, if that is no matter of luck: ``filter_closed at nat-b``."""
        if self.cause is None:
            return "not explained"
        if self.cause in EITHER:
            return _RACE
        return f"{self.cause} at {self.node}" if self.place else self.cause

    @property
    def place(self) -> str | None:
        return None if self.cause in EITHER else self.node


class Pair(FrozenValue):
    """A pair of NATs and a stack, with all its repetitions."""

    name: str
    runs: tuple[Run, ...]

    @cached_property
    def conclusive(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.judgement is not Judgement.INCONCLUSIVE)

    @property
    def stack(self) -> str:
        return self.name.split("/")[-2]

    @property
    def control(self) -> bool:
        """Is it one of those where getting through is the bad news?"""
        return not set(self.name.split(".")).isdisjoint(CONTROLS)

    @property
    def times(self) -> tuple[float, ...]:
        """How long it took to connect, in ms, where it did."""
        return tuple(run.connect_ms for run in self.conclusive if run.connect_ms is not None)

    def judgements(self) -> Counter[str]:
        return Counter(run.judgement.value for run in self.conclusive)

    def measured(self) -> Counter[str]:
        return Counter(run.measured for run in self.conclusive if run.measured)

    def predicted(self) -> Counter[str]:
        return Counter(run.predicted for run in self.conclusive if run.predicted)

    def causes(self) -> Counter[str] | None:
        """None where explanations were not recorded, which is not "none was found"."""
        if not all(run.explained for run in self.conclusive):
            return None
        return Counter(run.why for run in self.conclusive)


class Recorded(FrozenValue):
    """One side of a comparison.  ``facts`` are the versions that it ran with, if recorded."""

    path: Path
    pairs: Mapping[str, Pair]
    facts: Mapping[str, str]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


Measure = Annotated[str, Field(min_length=1)]  # of any study


class _GoldenPair(_Strict):
    model_config = ConfigDict(strict=True, extra="forbid")

    measured: Measure
    predicted: Measure | None = None  # as measured
    judgement: Literal[Judgement.PASS, Judgement.FAIL] = Judgement.PASS
    cause: Annotated[str, Field(min_length=1)] | None = None
    node: str | None = None

    def run(self) -> Run:
        return Run(
            Judgement(self.judgement),
            self.measured,
            self.predicted or self.measured,
            self.cause,
            self.node,
            self.cause is not None,
        )


class _Golden(_Strict):
    model_config = ConfigDict(strict=True, extra="forbid")

    format: Literal[1]
    pairs: dict[Name, _GoldenPair]


def read(path: Path) -> Recorded:
    """A ``results.json``, a golden file, or a folder with the former.

    UsageError naming the file, and the field that is damaged.
    """
    if not path.is_dir() and (golden := _golden(path)):
        pairs = {name: Pair(name, (pair.run(),)) for name, pair in golden.pairs.items()}
        return Recorded(path, pairs, {})
    document = load(path)
    runs: dict[str, list[Run]] = {}
    for result in document.results:
        runs.setdefault(result.group, []).append(_run(result))
    found = {name: Pair(name, tuple(some)) for name, some in runs.items()}
    return Recorded(path, found, document.facts)


def _golden(file: Path) -> _Golden | None:
    """None where the file is another thing; UsageError naming what is damaged."""
    try:
        text = foreign.read_bytes(file)
        value = from_json(text)
        if not isinstance(value, dict) or "pairs" not in value:
            return None
        return _Golden.model_validate_json(text)
    except ValidationError as error:
        raise UsageError(f"{file}: {foreign.complaint(error)}", remedy=_REMEDY) from None
    except (OSError, ValueError):
        return None


def _run(result: Result) -> Run:
    found = result.explanation
    return Run(
        result.judgement,
        result.measured,
        result.predicted,
        found.cause if found else None,
        found.node if found else None,
        "explanation" in result.model_fields_set,
        result.connect_ms,
        result.reason,
        result.folder,
    )


def merged(records: Sequence[Recorded]) -> Recorded:
    """All pairs of ``records``, of which there is one or more; the last word on a pair holds."""
    pairs = {name: pair for record in records for name, pair in record.pairs.items()}
    return Recorded(records[-1].path, pairs, records[-1].facts)
