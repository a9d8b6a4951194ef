"""What `testbed run` prints: the result, the way drawn, and what to type next."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.text import Text

from testbed.model.explanation import Diagram
from testbed.model.result import Result
from testbed.model.topology import Topology
from testbed.report import drawing
from testbed.report.glyphs import Glyphs

_WIDEST = 48  # columns of a command, before what it is for
_JUDGED = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold magenta"}


def told(
    row: Result,
    topology: Topology,
    ends: tuple[str, str, str],
    out: Path,
    glyphs: Glyphs,
    diagram: Diagram | None = None,
) -> Iterator[Text]:
    """The result of one cell, for any stream; ``diagram`` is that of its packets."""
    measured, judgement = row.measured, row.judgement
    head = Text(judgement, style=_JUDGED.get(judgement, ""))
    ended = f": measured {measured or 'nothing'}, predicted {row.predicted}"
    head.append(ended, style="not bold default")
    head.append(f"  ({glyphs.words(row.group)})", style="not bold dim")
    yield head
    if measured is not None and row.conclusive:
        stopped = row.explanation.node if row.explanation else None
        yield Text()
        passed = frozenset(_passed(diagram, *ends[:2]))
        yield from drawing.lines(topology, ends, measured, stopped, glyphs, passed)
        yield Text()
    for words in (row.reason, *row.findings, *row.notes):
        for line in words.splitlines():  # a peer's own words may be many lines
            yield Text(f"  {glyphs.words(line)}")
    yield Text(f"  packets and everything else: {out}")


def _passed(diagram: Diagram | None, one: str, other: str) -> Iterator[str]:
    """The nodes that the last packet from one end to the other passed."""
    for message in reversed(diagram.messages if diagram is not None else ()):
        nodes = [segment.to for segment in message.segments]
        if nodes and {message.segments[0].start, nodes[-1]} == {one, other}:
            yield from nodes
            return


def next_words(out: Path, peer: str | None = None, own: Sequence[str] = ()) -> Iterator[Text]:
    """What to type next, for somebody who is at a terminal.

    ``peer`` is what was said after ``--peer``, and ``own`` the words that described stacks.
    """
    chosen = shlex.join([*own, *(("--peer", peer) if peer else ())])
    described = shlex.join(own)
    ways = {
        f"testbed explain {shlex.quote(str(out))}": "why, packet by packet",
        _words("testbed run", chosen, "-a symmetric -b port-restricted"): "other NATs: "
        "testbed nat list",
        _words("testbed matrix", described): "every pair, in about a minute",
    }
    if not own:
        ways["testbed peer check ./my-peer"] = "a stack of your own"
    width = min(max(map(len, ways)), _WIDEST)
    yield Text()
    yield Text("next", style="bold")
    for command, why in ways.items():
        line = Text(f"  {command.ljust(width)}  ")
        yield line.append(why, style="dim")


def _words(*parts: str) -> str:
    return " ".join(part for part in parts if part)
