"""What was recorded of a matrix: read back from ``results.json``, or from a golden file."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import from_json

from testbed.errors import UsageError
from testbed.model.explanation import Cause
from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement

RESULTS = "results.json"
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
    measured: Outcome | None
    predicted: Outcome | None
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


@dataclass(frozen=True)
class Pair:
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
        return Counter(run.measured.value for run in self.conclusive if run.measured)

    def predicted(self) -> Counter[str]:
        return Counter(run.predicted.value for run in self.conclusive if run.predicted)

    def causes(self) -> Counter[str] | None:
        """None where explanations were not recorded, which is not "none was found"."""
        if not all(run.explained for run in self.conclusive):
            return None
        return Counter(run.why for run in self.conclusive)


@dataclass(frozen=True)
class Recorded:
    """One side of a comparison.  ``facts`` are the versions that it ran with, if recorded."""

    path: Path
    pairs: Mapping[str, Pair]
    facts: Mapping[str, str]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class _Explanation(_Strict):
    cause: Annotated[str, Field(min_length=1)]
    node: str | None


Name = Annotated[str, Field(pattern=r"^[^/]+/.+")]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Row(_Strict):
    """What a comparison needs of a row of ``results.json``; the rest may be anything."""

    name: Name
    pair: Name
    judgement: Judgement
    measured: Outcome | None
    predicted: Outcome | None
    reason: str
    folder: str
    connect_ms: Milliseconds | None
    explanation: _Explanation | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.judgement is not Judgement.INCONCLUSIVE and not (self.measured and self.predicted):
            raise ValueError(f"{self.judgement} without a measured and a predicted outcome")
        return self

    def run(self, beside: Path) -> Run:
        """``beside``: the folder of the results, with which that of the cell may have moved."""
        found = self.explanation
        return Run(
            self.judgement,
            self.measured,
            self.predicted,
            found.cause if found else None,
            found.node if found else None,
            "explanation" in self.model_fields_set,
            self.connect_ms,
            self.reason,
            str(where(Path(self.folder), self.name, beside)),
        )


class _Results(_Strict):
    format: Literal[1]
    facts: dict[str, str]
    cells: list[_Row]

    @field_validator("cells")
    @classmethod
    def _once(cls, cells: list[_Row]) -> list[_Row]:
        names = Counter(row.name for row in cells)
        if twice := next((name for name, count in names.items() if count > 1), None):
            raise ValueError(f"{twice} is there twice")
        return cells


class _GoldenPair(_Strict):
    model_config = ConfigDict(strict=True, extra="forbid")

    measured: Outcome
    predicted: Outcome | None = None  # as measured
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
    file = path / RESULTS if path.is_dir() else path
    try:
        text = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}", remedy=_REMEDY) from error
    try:
        value = from_json(text)
        if isinstance(value, dict) and "pairs" in value:
            golden = _Golden.model_validate_json(text)
            pairs = {name: Pair(name, (pair.run(),)) for name, pair in golden.pairs.items()}
            return Recorded(file, pairs, {})
        results = _Results.model_validate_json(text)
    except ValidationError as error:
        raise UsageError(f"{file}: {_complaint(error)}", remedy=_REMEDY) from None
    except ValueError as error:
        raise UsageError(f"{file}: not JSON: {error}", remedy=_REMEDY) from None
    runs: dict[str, list[Run]] = {}
    for row in results.cells:
        runs.setdefault(row.pair, []).append(row.run(file.parent))
    found = {name: Pair(name, tuple(some)) for name, some in runs.items()}
    return Recorded(file, found, results.facts)


def where(folder: Path, name: str, beside: Path) -> Path:
    """A cell's folder, also when the whole matrix was moved, or is read from elsewhere.

    ``folder`` is as the run that is called ``name`` recorded it, from where that was called.
    """
    below = folder.name if folder.name.startswith("try-") else ""
    moved = beside / "cells" / name / below
    return moved if moved.is_dir() else folder


def merged(records: Sequence[Recorded]) -> Recorded:
    """All pairs of ``records``, of which there is one or more; the last word on a pair holds."""
    pairs = {name: pair for record in records for name, pair in record.pairs.items()}
    return Recorded(records[-1].path, pairs, records[-1].facts)


def _complaint(error: ValidationError) -> str:
    """The first field that does not fit: ``cells[3].judgement: ...``."""
    first, count = error.errors(include_url=False)[0], error.error_count()
    place = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in first["loc"])
    words = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    found = f", not {given!r:.60}" if given is None or isinstance(given, str | int | float) else ""
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{place.lstrip('.') or 'the whole'}: {words}{found}{more}"
