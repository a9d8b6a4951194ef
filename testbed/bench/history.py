"""What was measured before: a line a commit, a page of it, and the baseline of this machine.

Of a shared machine only the time that processors worked means something from one day to the
next: `worse` compares that alone, with figures that the same machine gave.
"""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from testbed import places
from testbed.errors import UsageError

ALLOWED = 1.15  # of the baseline; more is a regression


class Measurement(BaseModel):
    """The figures of one run, by their names; ``load`` is the average of the minute before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    date: str
    commit: str
    machine: str
    load: float
    figures: dict[str, float]


@dataclass(frozen=True)
class Worse:
    """A figure beyond what is allowed."""

    what: str
    before: float
    now: float


def measured(figures: Mapping[str, float]) -> Measurement:
    """The figures with when, of which commit and where they were measured."""
    return Measurement(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        commit=_commit(),
        machine=machine(),
        load=round(os.getloadavg()[0], 1),
        figures={name: round(figure, 4) for name, figure in figures.items()},
    )


def machine() -> str:
    """What must be the same for figures to be compared: processor, their number, kernel."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{model}, {os.cpu_count()} processors, Linux {platform.release()}"


def _commit() -> str:
    """The commit, with a ``+`` where files differ from it; "none" outside of a clone."""
    command = ["git", "-C", str(places.PACKAGE), "describe", "--always", "--dirty=+"]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return "none"
    return done.stdout.strip()


def append(file: Path, one: Measurement) -> list[Measurement]:
    """Add a line to the history; gives all of it.  A commit that is measured again has one line."""
    kept = [old for old in history(file) if (old.commit, old.machine) != (one.commit, one.machine)]
    # What another part of the benchmarks measured of the same commit stays.
    again = [old for old in history(file) if (old.commit, old.machine) == (one.commit, one.machine)]
    earlier = again[-1].figures if again else {}
    kept.append(one.model_copy(update={"figures": earlier | one.figures}))
    file.write_text("".join(each.model_dump_json() + "\n" for each in kept), encoding="utf-8")
    return kept


def history(file: Path) -> list[Measurement]:
    """The measurements of ``file``, oldest first; UsageError naming a line that is none."""
    if not file.exists():
        return []
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(Measurement.model_validate_json(line))
        except ValidationError:
            raise UsageError(
                f"{file}: line {number} is no measurement", remedy="remove that line"
            ) from None
    return found


def page(measurements: Sequence[Measurement]) -> str:
    """The history as Markdown: a table for each machine, a line a commit, newest first."""
    parts = ["# What the testbed costs\n"]
    for place in dict.fromkeys(one.machine for one in measurements):
        some = [one for one in reversed(measurements) if one.machine == place]
        names = list(dict.fromkeys(name for one in some for name in one.figures))
        heads = ["commit", "measured (UTC)", "load", *names]
        lines = [heads, ["---"] * len(heads)]
        for one in some:
            figures = [_cell(one.figures.get(name)) for name in names]
            lines.append([one.commit, one.date, f"{one.load:g}", *figures])
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts.append(f"## {place}\n\n{table}\n")
    return "\n".join(parts)


def _cell(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.4g}"


def worse(before: Measurement, now: Measurement) -> list[Worse]:
    """The figures that are more than 15 % above those of the baseline.

    UsageError if the baseline is another machine's.
    """
    if before.machine != now.machine:
        raise UsageError(
            f"the baseline is of another machine: {before.machine}",
            remedy="make bench-check ARGS=--keep, which makes a new one",
        )
    pairs = ((name, before.figures.get(name), figure) for name, figure in now.figures.items())
    return [
        Worse(name, old, new) for name, old, new in pairs if old is not None and new > old * ALLOWED
    ]


def baseline(file: Path) -> Measurement | None:
    """The one that is kept; None if there is none.  UsageError for a damaged file."""
    try:
        return Measurement.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise UsageError(
            f"{file} is no measurement", remedy="make bench-check ARGS=--keep"
        ) from None


def keep(file: Path, one: Measurement) -> None:
    """Make it the baseline."""
    file.write_text(json.dumps(one.model_dump(), indent=2) + "\n", encoding="utf-8")
