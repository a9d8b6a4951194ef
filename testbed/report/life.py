"""What became of connections, as a table."""

from collections.abc import Sequence
from itertools import groupby

from rich.box import SIMPLE
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from testbed.model.details import LifeDetails, Spell
from testbed.model.life import Fate
from testbed.model.result import Document, Result
from testbed.model.verdict import Judgement
from testbed.report.plain import MARKS

_COLUMNS = ("scenario", "peers", "expected", "measured", "path", "ms", "", "notes")
_NUMBERS = ("ms",)


def picture(document: Document, _seconds: float, _width: int) -> RenderableType:
    """`table` of a whole run."""
    return table(document.results)


def table(results: Sequence[Result]) -> Table:
    """A line a life; what differs, and why, is below.

    ``path``: by which the peers were connected, one after the other; ``ms``: the gap in the echo.
    """
    told = dict.fromkeys(note for result in results if (note := _note(result)))
    notes = {note: str(n) for n, note in enumerate(told, 1)}
    shown = Table(
        title="What becomes of a direct path",
        caption="\n".join(f"{number} {note}" for note, number in notes.items()),
        title_justify="left", caption_justify="left", title_style="bold", box=SIMPLE,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    for column in _COLUMNS:
        shown.add_column(
            column,
            no_wrap=column not in ("path", "expected"),
            min_width=len("relayed,") if column == "path" else None,
            justify="right" if column in _NUMBERS else "left",
        )
    for result in results:
        mark = Text(*MARKS[result.judgement])
        shown.add_row(
            result.labels["scenario"], result.stack, _expected(result), *_measured(result),
            mark, notes.get(_note(result), ""),
        )  # fmt: skip
    return shown


def _note(result: Result) -> str:
    return "" if result.judgement is Judgement.PASS else result.reason


def _details(result: Result) -> LifeDetails:
    assert isinstance(result.details, LifeDetails)
    return result.details


def _expected(result: Result) -> str:
    wanted = _details(result).expected
    if wanted is None:
        return ""
    if wanted.fate is Fate.LOST:
        return wanted.fate.value
    by = " (file)" if wanted.stated else ""
    return f"{wanted.fate} in {wanted.low:.1f}-{wanted.high:.1f} s{by}"


def _measured(result: Result) -> tuple[str, str, str]:
    seen = _details(result).seen
    if seen is None:
        return "", "", ""
    recovery = "" if seen.fate is Fate.LOST else f"{seen.gap * 1000:.0f}"
    return seen.fate.value, _path(seen.spells), recovery


def _path(spells: Sequence[Spell]) -> str:
    """Each way once in a row; where the dialer was, if that changed."""
    places = len({one.at for one in spells}) > 1
    names = {False: "direct", True: "relayed"}
    ways = (f"{names[one.relayed]}{f' at {one.at}' if places else ''}" for one in spells)
    return ", ".join(way for way, _ in groupby(ways))
