"""`make bench-check`: the processor time of a lab, of a cell and of a packet, beside a baseline.

Processor time, of this process and of all that it started, depends little on what else a machine
does, where a clock would tell of nothing else.  The least of several rounds is compared.
"""

import argparse
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from testbed.bench.explain import long_cell
from testbed.bench.history import ALLOWED, append, baseline, keep, measured, page, worse
from testbed.bench.lab import five_nodes
from testbed.bench.table import Results, head, say
from testbed.errors import TestbedError
from testbed.evidence.account import WireAccount
from testbed.explain.explainer import explain
from testbed.lab import sandbox
from testbed.lab.namespaces import Namespaces
from testbed.nat.load import named
from testbed.run.cell import run_cell
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.evidence import load_evidence

OUT = Path("out")
BASELINE = "bench-baseline.json"
HISTORY, PAGE = "bench-history.jsonl", "bench-history.md"
ROUNDS = 5
PACKETS = 20_000
NATS = ("port-restricted", "full-cone")


def main() -> int:
    """Measure and compare; 1 where a figure is beyond its baseline, 2 for a baseline that is none.

    Without a baseline, or with ``--keep``, what was measured becomes it.
    """
    parser = argparse.ArgumentParser(prog="python -m testbed.bench.check", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="make this the machine's baseline")
    asked = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    try:
        kept = None if asked.keep else baseline(OUT / BASELINE)
        sandbox.enter(OUT)
        now = measured(costs())
        record(now.figures)
        if kept is None:
            keep(OUT / BASELINE, now)
            print(f"kept as the baseline of this machine: {OUT / BASELINE}")
            return 0
        found = worse(kept, now)
    except TestbedError as error:
        print(error, file=sys.stderr)
        return 2
    for one in found:
        print(
            f"{one.what}: {one.now:.4g}, {one.now / one.before:.2f} x the {one.before:.4g} before"
        )
    if not found:
        print(f"no figure is above {ALLOWED:g} x that of {kept.commit} ({kept.date})")
    return 1 if found else 0


def record(figures: Results) -> None:
    """A line of the history, and its page."""
    lines = append(OUT / HISTORY, measured(figures))
    (OUT / PAGE).write_text(page(lines), encoding="utf-8")


def costs() -> Results:
    """Processor time: ms a lab, ms a cell, microseconds a packet that is read and explained."""
    results: Results = {}
    head()
    steps = five_nodes()

    def lab() -> None:
        with Namespaces().start(steps):
            pass

    say(results, "CPU of a lab of 5 nodes and 2 NATs, up and down", _least(lab) * 1e3, "ms")
    cell, profiles = Cell("punch-udp", NATS), {one.name: one for one in named(NATS)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def whole() -> None:
            run_cell(cell, profiles, Namespaces(), folder / "cell")

        say(results, "CPU of a cell, punch-udp", _least(whole) * 1e3, "ms")
        count = long_cell(folder / "long", PACKETS)

        def read() -> None:
            evidence = load_evidence(folder / "long")
            explain(evidence, WireAccount.of(evidence))

        say(results, "CPU of a packet, read and explained", _least(read) / count * 1e6, "us")
    return results


def _least(action: Callable[[], None]) -> float:
    """Seconds of processor time of the cheapest round, after one that is not counted."""
    action()
    found = []
    for _ in range(ROUNDS):
        before = _used()
        action()
        found.append(_used() - before)
    return min(found)


def _used() -> float:
    """Of this process and of the children that it waited for."""
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in found)


if __name__ == "__main__":
    sys.exit(main())
