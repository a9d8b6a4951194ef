"""`make bench`: what the testbed costs, beside references, in one run, as ratios.

Timings of a shared machine mean little alone; a ratio to something that everybody
knows, measured in the same minute, means something.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from testbed.bench import (
    check,
    containers,
    explain,
    footprint,
    growth,
    interop,
    lab,
    nats,
    receipts,
    rivals,
    stacks,
    throughput,
    upgrade,
)
from testbed.bench.table import Results, head
from testbed.lab import sandbox

OUT = Path("out")
PARTS = (
    "lab",
    "containers",
    "traversal",
    "speed",
    "receipts",
    "explain",
    "stacks",
    "nats",
    "growth",
)
LONG = ("interop",)  # many minutes: only where they are named
_ALONE: dict[str, Callable[[Results], None]] = {
    "stacks": stacks.measure,
    "interop": interop.measure,
    "explain": explain.measure,
    "containers": containers.measure,
    "nats": nats.measure,
    "receipts": receipts.measure,
}
_HELP = f"all but {', '.join(LONG)} if none is named"


def main() -> int:
    """Run the parts that are asked for; 0 when labs are within their promised ratios."""
    parser = argparse.ArgumentParser(prog="python -m testbed.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="|".join(PARTS + LONG), help=_HELP)
    parts = parser.parse_args().parts or PARTS
    if unknown := set(parts).difference(PARTS, LONG):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    OUT.mkdir(exist_ok=True)
    # Only out here is there a package index to have them from.
    needed = {"traversal", "speed"}.intersection(parts)
    others = rivals.fetch(OUT) if needed else rivals.Rivals()
    sandbox.enter()
    results: Results = {}
    kept = True
    head()
    if "traversal" in parts:
        upgrade.measure(results)
        footprint.measure(results, others.python)
    if "speed" in parts:
        throughput.measure(results, others)
    for name, measure in _ALONE.items():
        if name in parts:
            measure(results)
    if "growth" in parts:
        kept = growth.measure(results)
    if "lab" in parts:
        kept = lab.measure(results) and kept
    check.record(results)
    (OUT / "bench.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
