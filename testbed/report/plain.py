"""The results of any study as a table."""

from collections.abc import Iterator

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from testbed.model.result import Document, Result, Summary
from testbed.model.verdict import Judgement

MARKS = {
    Judgement.PASS: ("=", "green"),
    Judgement.FAIL: ("!=", "bold red"),
    Judgement.INCONCLUSIVE: ("?", "magenta"),
}


def picture(document: Document, seconds: float, _width: int) -> RenderableType:
    """A line a case, then the reasons of those that are not as predicted, then the counts."""
    axes = list(dict.fromkeys(axis for result in document.results for axis in result.labels))
    shown = Table(box=SIMPLE, show_edge=False, padding=(0, 1, 0, 0))
    for column in (*axes, "measured", "predicted", ""):
        shown.add_column(column)
    for result in document.results:
        values = [result.labels.get(axis, "") for axis in axes]
        ends = (result.measured or "nothing", result.predicted or "nothing")
        shown.add_row(*values, *ends, Text(*MARKS[result.judgement]))
    reasons = [Text(line) for result in document.results for line in _reasons(result)]
    return Group(shown, *reasons, Text(counts(document.summary, seconds), "bold"))


def _reasons(result: Result) -> Iterator[str]:
    if result.judgement is not Judgement.PASS:
        yield f"{result.name}: {'; '.join((result.reason, *result.findings))}"


def counts(summary: Summary, seconds: float) -> str:
    """``18 of 20 cases as predicted, 1 differs, 1 inconclusive, in 12 s``."""
    parts = [f"{summary.passed} of {summary.total} cases as predicted"]
    parts += [f"{summary.failed} differ"] if summary.failed else []
    parts += [f"{summary.inconclusive} inconclusive"] if summary.inconclusive else []
    return f"{', '.join(parts)}, in {seconds:.0f} s"
