"""An explanation on a terminal: what, why, the story, the diagram, and where the packets are."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from testbed.model.explanation import Explanation, Line, Wrong
from testbed.model.journey import Fate, Hop, Journey, Label
from testbed.report.diagram import draw, legend
from testbed.report.glyphs import Glyphs
from testbed.words import sentence

_WIDEST = 160  # columns; longer lines are hard to read
_FATES = {Fate.DROPPED: "bold red", Fate.REJECTED: "bold red", Fate.LOST: "bold red"}
_JUDGED = {"pass": "green", "fail": "bold red", "inconclusive": "bold magenta"}
AT_FAULT = {
    Wrong.PREDICTION: "the prediction is wrong",
    Wrong.NAT: "a NAT does not do as it declares",
    Wrong.PEER: "a peer is wrong",
    Wrong.HARNESS: "the harness is at fault",
    Wrong.UNDECIDED: "who is wrong is not decided",
}


def render(
    explanation: Explanation, width: int, glyphs: Glyphs, addresses: Mapping[str, str]
) -> RenderableType:
    """The whole of it for ``width`` columns; ``addresses`` stand below the diagram's nodes."""
    width = min(width, _WIDEST)
    parts: list[RenderableType] = [_summary(explanation, glyphs)]
    if explanation.story:
        parts += [Text(), Text("what happened", style="bold"), _story(explanation.story, glyphs)]
    if explanation.diagram.messages:
        lines = draw(explanation.diagram, width, glyphs, addresses)
        parts += [Text(), *lines, legend(explanation.diagram, glyphs)]
    return Group(*parts)


def pointers(explanation: Explanation, capture: Path) -> Iterator[str]:
    """Lines to be copied: the capture, and how to see just the packets that count."""
    yield f"packets  {capture}"
    if chosen := explanation.decisive or explanation.cites:
        picked = f"frame.number in {{{', '.join(str(cite.number) for cite in chosen)}}}"
        yield f"filter   {picked}"
        yield f"         tshark -r {shlex.quote(str(capture))} -Y {shlex.quote(picked)}"


def hops(
    journeys: Sequence[Journey], labels: Mapping[int, Label], zero_ns: int, glyphs: Glyphs
) -> Iterator[Text]:
    """Every journey with each node of its way: `testbed explain --packets`."""
    for journey in journeys:
        first = journey.first
        label = labels.get(first.number) or Label(first.protocol, first.protocol.upper())
        line = Text(f"{(first.time_ns - zero_ns) / 1e6:+10.1f}  ", no_wrap=True, overflow="ignore")
        line.append(glyphs.words(f"{label.protocol}: {label.text}"), style="bold")
        for name, value in label.fields:
            line.append(glyphs.words(f"  {name} {value}"), style="dim")
        yield line
        width = max(len(hop.node) for hop in journey.hops)
        for hop in journey.hops:
            yield _hop(hop, width, glyphs)


def _hop(hop: Hop, width: int, glyphs: Glyphs) -> Text:
    line = Text(f"{'':12}{hop.node:{width}}  ", no_wrap=True, overflow="ignore")
    line.append(f"{hop.fate.value:10}", style=_FATES.get(hop.fate, ""))
    sights = [sight for sight in (hop.inward, hop.outward) if sight is not None]
    if sights:
        numbers = " ".join(f"#{sight.number}" for sight in sights)
        line.append(f"  {numbers:13}", style="cyan")
        ends = dict.fromkeys(f"{p.source} {glyphs.to} {p.destination}" for p in sights)
        line.append(f"  {'; then '.join(ends)}")
    if hop.rules:
        line.append(glyphs.words(f"  by {' or '.join(hop.rules)}"), style="bold red")
    if hop.answer is not None:
        line.append(f"  answered by #{hop.answer.number}", style="bold red")
    return line


def _summary(explanation: Explanation, glyphs: Glyphs) -> Table:
    """Name and outcome, then one row for each question."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    judgement = explanation.judgement.value
    measured = explanation.measured or "nothing"
    outcome = Text(f"measured {measured}, predicted {explanation.predicted or 'nothing'}: ")
    outcome.append(judgement, style=_JUDGED[judgement])
    where = f" at {explanation.node}" if explanation.node else ""
    cause = Text(explanation.cause.value, style="bold yellow").append(where, style="default")
    table.add_row("cell", Text(glyphs.words(explanation.name), style="bold"))
    table.add_row("result", outcome)
    table.add_row("cause", cause)
    table.add_row("", Text(glyphs.words(sentence(explanation.headline))))
    if explanation.wrong is not Wrong.NOBODY:
        table.add_row("wrong", Text(AT_FAULT[explanation.wrong], style="bold red"))
        if explanation.wrong_why is not None:
            table.add_row("", _line(explanation.wrong_why, glyphs))
    for lack in explanation.missing:
        table.add_row("missing", Text(glyphs.words(sentence(lack)), style="magenta"))
    return table


def _story(story: Sequence[Line], glyphs: Glyphs) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim", justify="right", no_wrap=True)
    table.add_column()
    for number, line in enumerate(story, 1):
        table.add_row(f"{number}.", _line(line, glyphs))
    return table


def _line(line: Line, glyphs: Glyphs) -> Text:
    """A sentence and the numbers of its packets, unless it names them itself."""
    text = Text(glyphs.words(sentence(line.fact)))
    for cite in line.cites:
        if cite.number not in line.fact.names:
            text.append(f" #{cite.number}", style="cyan")
    return text
