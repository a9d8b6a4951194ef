"""Measured rates of success beside theory, as a table."""

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from testbed.model.details import OddsDetails
from testbed.model.result import Document, Result
from testbed.model.verdict import Judgement
from testbed.report.plain import MARKS
from testbed.studies.odds.study import DOUBT

_LEGEND = (
    "size: probes or candidates; sockets on the hard side where there is a quota.",
    f"interval: Wilson's, {1 - DOUBT:.0%} for all cases together.",
    "sent: the most packets of one side in one run.",
)


def picture(document: Document, _seconds: float, _width: int) -> Table:
    """`table` of a whole run."""
    return table(document.results)


def table(results: Sequence[Result]) -> Table:
    """A line a case; below are the reasons of those that are not as predicted."""
    notes = [
        f"{result.name}: {note}"
        for result in results
        if result.judgement is not Judgement.PASS
        for note in (result.reason, *result.findings)
    ]
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
    for result in results:
        series = result.labels.get("series", "")
        found = result.details
        *cells, sent = _cells(found) if isinstance(found, OddsDetails) else _NOTHING
        name, size = "" if series == before else series, result.labels.get("size", "")
        shown.add_row(name, size, *cells, Text(*MARKS[result.judgement]), sent)
        before = series
    return shown


_NOTHING = ["-", "-", "-", "-"]


def _cells(found: OddsDetails) -> list[str]:
    theory = "-" if found.theory is None else f"{found.theory:.3f}"
    if found.bounds is None:
        return [theory, *_NOTHING[1:]]
    low, high = found.bounds
    rate = f"{found.hits / found.runs:.3f}"
    return [theory, rate, f"{low:.2f}-{high:.2f}", str(found.most_packets)]
