"""What AutoNAT said behind every NAT, as a table."""

from collections.abc import Iterator, Sequence

from rich.box import SIMPLE
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from testbed.model.details import AutonatDetails, Reached, TransportSeen
from testbed.model.result import Document, Result
from testbed.report.plain import MARKS
from testbed.stacks.registry import OURS


def picture(document: Document, _seconds: float, _width: int) -> RenderableType:
    """`table` of a whole run."""
    return table(document.results)


def table(results: Sequence[Result]) -> Table:
    """A line a transport; where measured and predicted differ, both.  Notes are below."""
    lines = list(_lines(results))
    notes = {note: str(n) for n, note in enumerate(_all_notes(lines), 1)}
    shown = Table(
        title="AutoNAT behind every NAT",
        caption="\n".join(f"{number} {note}" for note, number in notes.items()),
        title_justify="left", caption_justify="left", title_style="bold", box=SIMPLE,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    stacks = any(one.labels[end] != OURS for one in results for end in ("client", "server"))
    who = ("client", "server") if stacks else ()
    for column in ("profile", "", *who, "stranger", "v1", "v2", "", "notes"):
        shown.add_column(column, no_wrap=True)
    order = list(dict.fromkeys((result.profiles, seen.transport) for result, seen in lines))
    for result, seen in sorted(lines, key=lambda line: order.index(_place(*line))):
        names = [result.labels[end] for end in who]
        marks = " ".join(notes[note] for note in seen.notes)
        mark = Text(*MARKS[seen.judgement])
        shown.add_row(result.labels["profile"], seen.transport, *names, *_cells(seen), mark, marks)
    return shown


def _place(result: Result, seen: TransportSeen) -> tuple[tuple[str, ...], str]:
    return result.profiles, seen.transport


def _lines(results: Sequence[Result]) -> Iterator[tuple[Result, TransportSeen]]:
    """A case that came to no result has one line, with the reason as its note."""
    nothing = Reached(stranger=False, v1="", v2=())
    for result in results:
        assert isinstance(result.details, AutonatDetails)
        for seen in result.details.transports:
            yield result, seen
        if not result.details.transports:
            yield result, TransportSeen(
                transport="", judgement=result.judgement, measured=None, predicted=nothing,
                addresses=(), notes=(result.reason,),
            )  # fmt: skip


def _all_notes(lines: Sequence[tuple[Result, TransportSeen]]) -> list[str]:
    return list(dict.fromkeys(note for _, seen in lines for note in seen.notes))


def _cells(seen: TransportSeen) -> list[str]:
    predicted = _words(seen.predicted)
    if seen.measured is None:
        return predicted
    pairs = zip(_words(seen.measured), predicted, strict=True)
    return [one if one == other else f"{one}, predicted {other}" for one, other in pairs]


def _words(found: Reached) -> list[str]:
    return [
        "gets in" if found.stranger else "kept out",
        found.v1,
        ", ".join(_counted([address.verdict for address in found.v2])),
    ]


def _counted(words: Sequence[str]) -> list[str]:
    """Each word once, with its number where there are several addresses."""
    if len(words) == 1:
        return list(words)
    return [f"{words.count(word)} {word}" for word in sorted(set(words))]
