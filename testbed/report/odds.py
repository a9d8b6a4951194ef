"""Measured rates of success beside theory: the judgement, a table, JSON.

The interval around a measured rate is Wilson's.  Each is so wide that, if the theory is
right, all of them together contain it in 99 % of all experiments (Bonferroni): a table
is no worse off for having many rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from testbed.errors import Exit
from testbed.report.chance import wilson
from testbed.studies.odds.cases import Case
from testbed.studies.odds.runs import Measured

DOUBT = 0.01  # the chance that any row of a table differs although the theory holds
TOO_LATE = 1.0  # seconds; a mapping of these labs lives for two
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Row:
    """A case; ``measured`` is a sentence where it could not be.  ``rows``: how many there are."""

    case: Case
    measured: Measured | str
    rows: int = 1

    @property
    def z(self) -> float:
        """Half an interval's width, in standard deviations."""
        return NormalDist().inv_cdf(1 - DOUBT / self.rows / 2)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The interval around the measured rate."""
        if isinstance(self.measured, str):
            return None
        return wilson(self.measured.hits, self.measured.runs, self.z)

    @property
    def exit_code(self) -> Exit:
        """A machine too busy makes a difference inconclusive, and leaves an agreement alone."""
        if isinstance(self.measured, str) or self.bounds is None:
            return Exit.INCONCLUSIVE
        if self.measured.wrong:
            return Exit.DIFFERS
        low, high = self.bounds
        if low - _ROUNDING <= self.case.theory <= high + _ROUNDING:
            return Exit.AGREED
        return Exit.INCONCLUSIVE if self.measured.late > TOO_LATE else Exit.DIFFERS

    @property
    def notes(self) -> tuple[str, ...]:
        if isinstance(self.measured, str):
            return (self.measured,)
        if self.exit_code is Exit.INCONCLUSIVE:
            return (f"a run was {self.measured.late:.1f} s late: this machine is too busy",)
        return self.measured.wrong

    def to_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "case": self.case.name,
            "verdict": self.exit_code.name.lower(),
            "theory": round(self.case.theory, 6),
            "notes": list(self.notes),
        }
        if isinstance(self.measured, str) or self.bounds is None:
            return told | {"runs": 0, "hits": 0, "bounds": None, "most_packets": 0}
        return told | {
            "runs": self.measured.runs,
            "hits": self.measured.hits,
            "bounds": [round(bound, 6) for bound in self.bounds],
            "most_packets": self.measured.most_packets,
        }


def judged(cases: Sequence[Case], measured: Sequence[Measured | str]) -> list[Row]:
    """All rows of one experiment."""
    return [Row(case, one, len(cases)) for case, one in zip(cases, measured, strict=True)]


def exit_code(rows: Sequence[Row]) -> Exit:
    codes = {row.exit_code for row in rows}
    return Exit.DIFFERS if Exit.DIFFERS in codes else max(codes)


def table(rows: Sequence[Row]) -> Table:
    """A line a case, all notes below."""
    notes = [f"{row.case.name}: {note}" for row in rows for note in row.notes]
    shown = Table(
        title="Hard NATs: how often the strategies get through",
        caption="\n".join([*_LEGEND, *notes]),
        title_justify="left", caption_justify="left", title_style="bold", box=SIMPLE,
        show_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip
    shown.add_column("case")
    for column in ("size", "theory", "measured", "interval", "", "sent"):
        shown.add_column(column, justify="right", no_wrap=True)
    before = None
    for row in rows:
        series = "" if row.case.series == before else row.case.series
        shown.add_row(series, str(row.case.x), *_cells(row))
        before = row.case.series
    return shown


_LEGEND = (
    "size: probes or candidates; sockets on the hard side where there is a quota.",
    f"interval: Wilson's, {1 - DOUBT:.0%} for all rows together.",
    "sent: the most packets of one side in one run.",
)
_MARKS = {Exit.AGREED: Text("=", "green"), Exit.DIFFERS: Text("!=", "bold red")}


def _cells(row: Row) -> list[Text | str]:
    theory, mark = f"{row.case.theory:.3f}", _MARKS.get(row.exit_code, Text("?", "magenta"))
    if isinstance(row.measured, str) or row.bounds is None:
        return [theory, "-", "-", mark, "-"]
    low, high = row.bounds
    rate = f"{row.measured.hits / row.measured.runs:.3f}"
    return [theory, rate, f"{low:.2f}-{high:.2f}", mark, str(row.measured.most_packets)]
