"""What `testbed run` prints: the result, the way drawn, and what to type next."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from testbed.model.topology import Topology
from testbed.report import drawing
from testbed.report.glyphs import Glyphs

_JUDGED = {"pass": "bold green", "fail": "bold red", "inconclusive": "bold magenta"}


def told(
    row: Mapping[str, Any],
    topology: Topology,
    ends: tuple[str, str, str],
    out: Path,
    glyphs: Glyphs,
) -> Iterator[Text]:
    """The result of one cell, for any stream."""
    measured, judgement = row["measured"], row["judgement"]
    head = Text(judgement, style=_JUDGED.get(judgement, ""))
    head.append(f": measured {measured}, predicted {row['predicted']}", style="not bold default")
    yield head
    if judgement != "inconclusive":
        stopped = (row.get("explanation") or {}).get("node")
        yield Text()
        yield from drawing.lines(topology, ends, measured, stopped, glyphs)
        yield Text()
    for words in (row["reason"], *row["findings"]):
        yield Text(glyphs.words(f"  {words}"))
    yield Text(f"  packets and everything else: {out}")


def next_words(out: Path) -> Iterator[Text]:
    """What to type next, for somebody who is at a terminal."""
    ways = {
        f"testbed explain {shlex.quote(str(out))}": "why, packet by packet",
        "testbed run -a symmetric -b port-restricted": "other NATs: testbed nat list",
        "testbed matrix": "every pair, in about a minute",
        "testbed peer check ./my-peer": "a stack of your own",
    }
    width = max(map(len, ways))
    yield Text()
    yield Text("next", style="bold")
    for command, why in ways.items():
        line = Text(f"  {command.ljust(width)}  ")
        yield line.append(why, style="dim")
