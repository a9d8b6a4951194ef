"""`testbed odds`: prediction and birthday probing against hard NATs, beside theory."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from testbed.errors import Exit
from testbed.files import require_writable, write_text
from testbed.lab import sandbox
from testbed.report.odds import Row, exit_code, judged, table
from testbed.report.odds_plot import plot
from testbed.studies.odds.cases import Case, cases
from testbed.studies.odds.runs import Measured, measure_all

JOBS = 4 * (os.cpu_count() or 1)  # most of a run is waiting for mappings to expire


def odds(runs: int, seed: int, svg: Path | None, as_json: bool) -> int:
    """Run every case ``runs`` times, print one table; the exit code."""
    require_writable(svg)
    sandbox.enter(*([svg] if svg else []))
    rows = measured(cases(), runs, seed, JOBS)
    if svg is not None:
        write_text(svg, plot(rows))
    if as_json:
        print(json.dumps([row.to_json() for row in rows], indent=2))
    else:
        Console().print(table(rows))
    return int(exit_code(rows))


def measured(chosen: Sequence[Case], runs: int, seed: int, jobs: int) -> list[Row]:
    """A row for each case, in the given order; says how far it is on stderr.  In a sandbox.

    Inconclusive ones are tried once more at the end, with fewer at a time.
    """
    errors = Console(stderr=True)
    found: dict[int, Measured | str] = {}
    todo = sorted(range(len(chosen)), key=lambda index: chosen[index].quota is None)  # slow first
    for at_once in (jobs, max(1, jobs // 4)):
        asked = measure_all([chosen[index] for index in todo], runs, seed, at_once)
        for place, (position, result) in enumerate(asked, 1):
            index = todo[position]
            found[index] = result
            words = result if isinstance(result, str) else f"{result.hits} of {result.runs}"
            line = f"{place:3} of {len(todo)}  {chosen[index].name}: {words}"
            errors.print(line, highlight=False, soft_wrap=True)
        rows = judged(chosen, [found[index] for index in range(len(chosen))])
        todo = [n for n, row in enumerate(rows) if row.exit_code is Exit.INCONCLUSIVE]
        if not todo:
            break
    return rows
