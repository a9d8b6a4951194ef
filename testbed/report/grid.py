"""The matrix on a terminal: a grid for each stack, measured against predicted."""

import io
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from testbed.model.result import Document, RateSeen, Result, Summary
from testbed.model.result import rates as rates_of
from testbed.report import rates
from testbed.report.rungs import HEAD, summaries
from testbed.report.story import AT_FAULT
from testbed.report.terminal import terminal

DEFAULT_OUT = Path("out/matrix")  # where a name alone is looked up

_WORDS = {"direct": "direct", "relayed": "relay", "none": "none", None: "?"}
_LETTERS = {"direct": "D", "relayed": "R", "none": "-", None: "?"}
_STYLES = {"direct": "green", "relayed": "yellow", "none": "dim"}
_CORNER = "dialer \\ listener"
_LEGEND = "D direct, R relayed, - none; measured != predicted in red; ? inconclusive"

Column = tuple[str, list[Text]]  # its head, and a cell for each dialer


def render(rows: Sequence[Result], summary: Summary, seconds: float, width: int) -> RenderableType:
    """Grids, controls, what differs, and one line that sums up, for ``width`` columns."""
    parts: list[RenderableType] = []
    for peer in dict.fromkeys(row.grid for row in rows):
        punched = [row for row in rows if row.grid == peer and row.mode == "punch"]
        if punched:
            parts += [_grid(peer, punched, width), Text()]
    if any(row.rung for row in rows):
        parts += [_rungs(rows), Text()]
    controls = [row for row in rows if row.mode != "punch"]
    if controls:
        parts += [_controls(controls), Text()]
    parts += [Text(f"note: {words}", style="dim") for words in notes(rows)]
    parts += [_trouble(row) for row in rows if row.judgement != "pass" or row.findings]
    parts += [Text(f"mixed results: {pair}", style="bold red") for pair in summary.mixed]
    parts += [_chance(seen) for seen in rates_of(rows)]
    parts.append(_last_line(summary, seconds))
    return Group(*parts)


def notes(rows: Iterable[Result]) -> list[str]:
    """What is said of any of ``rows`` besides its outcome, each once."""
    return list(dict.fromkeys(note for row in rows for note in row.notes))


def _chance(seen: RateSeen) -> Text:
    known = "" if seen.agrees else "bold red"
    return Text(rates.sentence(seen), style=known if seen.sampled else "magenta")


def grid(document: Document, seconds: float, width: int) -> RenderableType:
    """`render` of a whole run."""
    return render(document.results, document.summary, seconds, width)


def _grid(peer: str, rows: Sequence[Result], width: int) -> RenderableType:
    """Words where they fit, else letters under numbered columns, in blocks that fit."""
    dialers = list(dict.fromkeys(_ends(row)[0] for row in rows))
    listeners = list(dict.fromkeys(_ends(row)[1] for row in rows))
    label = max(map(len, [*dialers, _CORNER])) + 4
    roomy = label + sum(max(len(name), 6) + 3 for name in listeners) <= width
    names = dialers if roomy else [_numbered(name, listeners) for name in dialers]
    columns = [
        (listener if roomy else str(number), _column(rows, dialers, listener, roomy=roomy))
        for number, listener in enumerate(listeners, 1)
    ]
    title = f"{peer}: who got through"
    if roomy:
        return _block(title, names, columns)
    room = width - max(map(len, [*names, _CORNER])) - 4
    blocks = [_block(title, names, block) for block in _fitting(columns, room)]
    return Group(*blocks, Text(_LEGEND, style="dim"))


def _ends(row: Result) -> tuple[str, str]:
    """The dialer and the listener of a mesh, else their NATs.

    Where a world takes one NAT, that and the world.
    """
    if row.hosts:
        return row.hosts
    first, *rest = row.profiles
    return first, rest[-1] if rest else row.labels["topology"]


def _numbered(name: str, listeners: Sequence[str]) -> str:
    place = f"{listeners.index(name) + 1:>2} " if name in listeners else "   "
    return place + name


def _column(
    rows: Sequence[Result], dialers: Sequence[str], listener: str, *, roomy: bool
) -> list[Text]:
    words = _WORDS if roomy else _LETTERS
    return [
        _cell([row for row in rows if _ends(row) == (dialer, listener)], words)
        for dialer in dialers
    ]


def _fitting(columns: Sequence[Column], width: int) -> Iterator[list[Column]]:
    """As many columns at a time as ``width`` holds, at least one."""
    block: list[Column] = []
    left = width
    for head, cells in columns:
        needed = max(len(head), *map(len, cells)) + 3
        if block and needed > left:
            yield block
            block, left = [], width
        block.append((head, cells))
        left -= needed
    yield block


def _block(title: str, names: Sequence[str], columns: Sequence[Column]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(_CORNER, no_wrap=True)
    for head, _ in columns:
        table.add_column(head, justify="center", no_wrap=True)
    for name, cells in zip(names, zip(*(cells for _, cells in columns), strict=True), strict=True):
        table.add_row(name, *cells)
    return table


def _cell(rows: Sequence[Result], words: Mapping[str | None, str]) -> Text:
    """One pair, all its repetitions."""
    if not rows:
        return Text("")
    bad = [row for row in rows if row.judgement == "fail"]
    unclear = [row for row in rows if row.judgement == "inconclusive"]
    if bad:
        row = bad[0]
        said = f"{words[row.measured]}!={words[row.predicted]}"
        return Text(_rate(said, len(bad), len(rows)), style="bold white on red")
    if unclear:
        return Text(_rate(words[None], len(unclear), len(rows)), style="bold magenta")
    measured = rows[0].measured
    return Text(words[measured], style=_STYLES[measured or "none"])


def _rate(words: str, count: int, total: int) -> str:
    return words if total == 1 else f"{words} {count}/{total}"


def _rungs(rows: Sequence[Result]) -> Table:
    """Which rung of the ladder carried how many cells, and how long it took to get there."""
    table = Table(title="the ladder", title_justify="left", title_style="bold")
    for column in HEAD:
        table.add_column(column, no_wrap=column in HEAD[:2])
    for line in summaries(rows):
        table.add_row(*line.words)
    return table


def _controls(rows: Sequence[Result]) -> Table:
    table = Table(title="negative controls", title_justify="left", title_style="bold")
    for column in ("control", "stack", "as predicted", "went direct"):
        table.add_column(column)
    names = {
        "plain_dial": "plain dial to the mapped address",
        "silent": "punching off",
        "relay_only": "relay only",
    }
    for mode, peer in dict.fromkeys((row.mode, row.stack) for row in rows):
        some = [row for row in rows if row.mode == mode and row.stack == peer]
        passed = sum(row.judgement == "pass" for row in some)
        direct = sorted({row.profiles[-1] for row in some if row.measured == "direct"})
        style = "green" if passed == len(some) else "bold red"
        good = Text(f"{passed} of {len(some)}", style=style)
        table.add_row(names.get(mode, mode), peer, good, ", ".join(direct) or "nobody")
    return table


def _trouble(row: Result) -> Panel:
    """What differs from its prediction, why, and the command that shows the packets."""
    style = "red" if row.judgement == "fail" else "magenta"
    lines = [Text(row.reason)]
    lines += [Text(f"finding: {finding}") for finding in row.findings]
    explained = row.explanation
    if explained is not None:
        cause = Text(explained.cause, style="bold yellow")
        lines.append(cause.append(f": {explained.headline}", style="default"))
        if fault := AT_FAULT.get(explained.wrong):
            lines.append(Text(fault, style="bold red"))
    lines.append(Text(_command(row), style="bold cyan"))
    title = f"{row.name}: {row.judgement}"
    return Panel(Group(*lines), title=title, title_align="left", border_style=style)


def _command(row: Result) -> str:
    """What shows the packets of a cell, as it can be typed; short, for it must not be broken."""
    out, found, _try = row.folder.partition(f"/cells/{row.name}")
    words = [row.name if found else row.folder]
    if found and Path(out) != DEFAULT_OUT:
        words += ["-o", out]
    return f"testbed explain {shlex.join(words)}"


def _last_line(summary: Summary, seconds: float) -> Text:
    text = Text()
    text.append(f"{summary.passed} of {summary.total} cells as predicted", style="bold")
    if summary.failed:
        text.append(f", {summary.failed} differ", style="bold red")
    if summary.rates_differ:
        text.append(f", {len(summary.rates_differ)} with a rate that disagrees", style="bold red")
    if summary.rates_unsure:
        text.append(f", {len(summary.rates_unsure)} without a rate", style="bold magenta")
    if summary.inconclusive:
        text.append(f", {summary.inconclusive} inconclusive", style="bold magenta")
    if summary.retried:
        text.append(f", {summary.retried} tried again (machine too busy)", style="magenta")
    if not summary.certified:
        text.append(", NATs not certified", style="magenta")
    text.append(f", {seconds:.0f} s", style="dim")
    return text


def export_svg(renderable: RenderableType, title: str, width: int) -> str:
    """The same output as an SVG picture that asks nobody for a font."""
    console = terminal(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(renderable)
    alone = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    return console.export_svg(title=title, code_format=alone)
