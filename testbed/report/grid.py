"""The matrix on a terminal: a grid for each stack, measured against predicted."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from testbed.matrix import Row, Summary

_LETTERS = {"direct": "direct", "relayed": "relay", "none": "none", None: "?"}
_STYLES = {"direct": "green", "relayed": "yellow", "none": "dim"}


def render(rows: Sequence[Row], summary: Summary, seconds: float) -> RenderableType:
    """Grids, controls, what differs, and one line that sums up."""
    parts: list[RenderableType] = []
    for peer in dict.fromkeys(row["peer"] for row in rows):
        punched = [row for row in rows if row["peer"] == peer and row["mode"] == "punch"]
        if punched:
            parts += [_grid(peer, punched), Text()]
    controls = [row for row in rows if row["mode"] != "punch"]
    if controls:
        parts += [_controls(controls), Text()]
    parts += [_trouble(row) for row in rows if row["judgement"] != "pass" or row["findings"]]
    parts += [Text(f"mixed results: {pair}", style="bold red") for pair in summary.mixed]
    parts.append(_last_line(summary, seconds))
    return Group(*parts)


def _grid(peer: str, rows: Sequence[Row]) -> Table:
    table = Table(title=f"{peer}: who got through", title_justify="left", title_style="bold")
    dialers = list(dict.fromkeys(row["profiles"][0] for row in rows))
    listeners = list(dict.fromkeys(row["profiles"][-1] for row in rows))
    table.add_column("dialer \\ listener", no_wrap=True)
    for listener in listeners:
        table.add_column(listener, justify="center")
    for dialer in dialers:
        cells = [
            _cell([row for row in rows if row["profiles"] == [dialer, listener]])
            for listener in listeners
        ]
        table.add_row(dialer, *cells)
    return table


def _cell(rows: Sequence[Row]) -> Text:
    """One pair, all its repetitions."""
    if not rows:
        return Text("")
    bad = [row for row in rows if row["judgement"] == "fail"]
    unclear = [row for row in rows if row["judgement"] == "inconclusive"]
    if bad:
        row = bad[0]
        words = f"{_LETTERS[row['measured']]} != {_LETTERS[row['predicted']]}"
        return Text(_rate(words, len(bad), len(rows)), style="bold white on red")
    if unclear:
        return Text(_rate("unclear", len(unclear), len(rows)), style="bold magenta")
    measured = rows[0]["measured"]
    return Text(_LETTERS[measured], style=_STYLES[measured])


def _rate(words: str, count: int, total: int) -> str:
    return words if total == 1 else f"{words} {count}/{total}"


def _controls(rows: Sequence[Row]) -> Table:
    table = Table(title="negative controls", title_justify="left", title_style="bold")
    for column in ("control", "stack", "as predicted", "went direct"):
        table.add_column(column)
    names = {
        "plain_dial": "plain dial to the mapped address",
        "silent": "punching off",
        "relay_only": "relay only",
    }
    for mode, peer in dict.fromkeys((row["mode"], row["peer"]) for row in rows):
        some = [row for row in rows if row["mode"] == mode and row["peer"] == peer]
        passed = sum(row["judgement"] == "pass" for row in some)
        direct = sorted({row["profiles"][-1] for row in some if row["measured"] == "direct"})
        style = "green" if passed == len(some) else "bold red"
        good = Text(f"{passed} of {len(some)}", style=style)
        table.add_row(names.get(mode, mode), peer, good, ", ".join(direct) or "nobody")
    return table


def _trouble(row: Row) -> Panel:
    """What differs from its prediction, and where to look."""
    style = "red" if row["judgement"] == "fail" else "magenta"
    lines = [Text(row["reason"])]
    lines += [Text(f"finding: {finding}") for finding in row["findings"]]
    if row["packets_cited"]:
        lines.append(Text(f"packets {_numbers(row['packets_cited'])} of capture.pcapng", "dim"))
    lines.append(Text(row["folder"], style="dim"))
    title = f"{row['name']}: {row['judgement']}"
    return Panel(Group(*lines), title=title, title_align="left", border_style=style)


def _numbers(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return shown + (", ..." if len(numbers) > 8 else "")


def _last_line(summary: Summary, seconds: float) -> Text:
    text = Text()
    text.append(f"{summary.passed} of {summary.total} cells as predicted", style="bold")
    if summary.failed:
        text.append(f", {summary.failed} differ", style="bold red")
    if summary.inconclusive:
        text.append(f", {summary.inconclusive} inconclusive", style="bold magenta")
    text.append(f", {seconds:.0f} s", style="dim")
    return text


def export_svg(renderable: RenderableType, title: str, width: int = 118) -> str:
    """The same output as an SVG picture, for a README."""
    with open("/dev/null", "w") as nowhere:  # noqa: PTH123
        console = Console(record=True, width=width, file=nowhere, force_terminal=True)
        console.print(renderable)
        return console.export_svg(title=title)


def certificate_table(certificates: Sequence[Any]) -> Table:
    """Declared against measured, a line a profile."""
    table = Table(title="NAT certification", title_justify="left", title_style="bold")
    for column in ("profile", "axes", "verdict", "declared != measured"):
        table.add_column(column)
    for certificate in certificates:
        wrong = [row for row in certificate.rows if not row.agrees]
        style = {"PASS": "green", "FAIL": "bold red"}.get(certificate.verdict.upper(), "magenta")
        table.add_row(
            certificate.profile,
            str(len(certificate.rows)),
            Text(certificate.verdict.lower(), style=style),
            "\n".join(f"{r.axis}: {r.declared} != {r.measured} ({r.evidence})" for r in wrong),
        )
    return table
