"""What swarms cost their relays, as tables."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from statistics import median

from rich.box import SIMPLE
from rich.console import Group
from rich.table import Table
from rich.text import Text

from testbed.model.details import RelaysDetails
from testbed.model.outcome import Outcome
from testbed.model.result import Document, Result
from testbed.model.verdict import Judgement
from testbed.report.plain import MARKS, counts
from testbed.studies.relays.curves import MEGA, claims
from testbed.words.claims import sentence

_LEGEND = (
    "direct: pairs; MB: 10^6 bytes of frames at all relays, in and out; both beside what is "
    "foreseen. done: pairs whose work got done. ms, Mbit/s: medians of all pairs, of a round trip, "
    "and of an echo while all others have theirs. cpu, mem: of the relays, in s and in MB."
)
_COLUMNS = ("peers", "upgrades", "direct", "", "MB", "", "done", "ms", "Mbit/s", "cpu", "mem", "")
_NOTHING = ["-"] * 9


def picture(document: Document, seconds: float, _width: int) -> Group:
    """`tables` of a whole run."""
    return Group(*tables(document.results), Text(counts(document.summary, seconds), "bold"))


def tables(results: Sequence[Result]) -> Iterator[Table | Text]:
    """One for each population and stack, what they mean, what follows, and what differs."""
    for name, some in groupby(results, _whose):
        yield _table(name, some)
    yield Text(_LEGEND, "dim")
    for claim in claims(results):
        yield Text(sentence(claim))
    for result in results:
        if result.judgement is not Judgement.PASS:
            notes = "; ".join(dict.fromkeys((result.reason, *result.findings)))
            yield Text(f"{result.name}: {notes}")


def _whose(result: Result) -> str:
    return f"{result.labels['population']}, {result.labels['stack']}"


def _table(name: str, results: Iterator[Result]) -> Table:
    """A line a swarm."""
    shown = Table(
        title=name, title_justify="left", title_style="bold", box=SIMPLE, show_edge=False,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for column in _COLUMNS:
        shown.add_column(column, justify="right", no_wrap=True)
    for result in results:
        cells = _cells(result.details) if isinstance(result.details, RelaysDetails) else _NOTHING
        mark = Text(*MARKS[result.judgement])
        shown.add_row(result.labels["peers"], result.labels["upgrades"], *cells, mark)
    return shown


def _cells(found: RelaysDetails) -> list[str]:
    if not found.relays or found.foreseen is None:
        return _NOTHING
    direct, passed = found.foreseen.direct, found.foreseen.relay_bytes
    return [
        f"{found.count(Outcome.DIRECT)}/{len(found.pairs)}",
        f"{direct[0]}-{direct[1]}",
        f"{found.relay_bytes / MEGA:.1f}",
        f"{passed[0] / MEGA:.1f}-{passed[1] / MEGA:.1f}",
        str(found.finished),
        _median([pair.trip_ms for pair in found.pairs], "{:.0f}"),
        _median([pair.rate_mbit for pair in found.pairs], "{:.2f}"),
        f"{sum(relay.cpu_s or 0 for relay in found.relays):.1f}",
        f"{sum(relay.memory_bytes or 0 for relay in found.relays) / MEGA:.0f}",
    ]


def _median(values: Sequence[float | None], shown: str) -> str:
    known = [value for value in values if value is not None]
    return shown.format(median(known)) if known else "-"
