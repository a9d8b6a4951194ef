"""The interop matrix as CI runs it: all stacks that are built, with every capture.

The harness's share is that of the cells' time in which the lab was not the peers': the lab
comes up and down, what was recorded is judged and explained.  Cells run side by side, so
that time holds the waiting for a processor, too.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

from testbed.bench.table import Results, say
from testbed.lab.namespaces import Namespaces
from testbed.model.result import Result, summarize
from testbed.nat.load import named
from testbed.run.matrix import run_matrix
from testbed.studies.punch.selection import CLASSIC, DEFAULT, Selection, chosen_stacks

SAID_EVERY = 100  # cells


def measure(results: Results) -> None:
    """What `testbed matrix --peers libp2p --pairs interop` runs, without the certification."""
    peers, left_out = chosen_stacks("libp2p", mixed=True)
    for words in left_out:
        print(f"  {words}")
    cells = Selection(DEFAULT, DEFAULT, peers, strangers=CLASSIC).cells()
    profiles = {profile.name: profile for profile in named(DEFAULT)}
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        rows = run_matrix(
            cells,
            profiles,
            Namespaces(),
            Path(folder),
            jobs=4 * (os.cpu_count() or 1),
            facts=None,
            progress=_progress,
        )
        wall = time.monotonic() - start
    _say(results, rows, wall, peers)


def _progress(row: Result, done: int, total: int) -> None:
    if row.judgement != "pass":
        print(f"  {row.name}: {row.judgement}: {row.reason}")
    if done % SAID_EVERY == 0:
        print(f"  {done} of {total} cells", file=sys.stderr, flush=True)


def _say(results: Results, rows: list[Result], wall: float, peers: list[str]) -> None:
    summary = summarize(rows)
    note = f"{summary.passed} of {summary.total} as predicted, {summary.retried} tried again"
    say(results, f"interop matrix, {len(peers)} pairs of stacks", wall, "s", note)
    say(results, "  cells a minute", 60 * len(rows) / wall, "/min", f"{os.cpu_count()} CPUs")
    cells_s = sum(row.seconds for row in rows)
    harness = 100 * (1 - sum(row.peers_s for row in rows) / cells_s)
    say(results, "  the harness's share of the cells' time", harness, "%", "goal: below 10")
