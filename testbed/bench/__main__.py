"""`make bench`: what the testbed costs, beside references, in one run, as ratios.

Timings of a shared machine mean little alone; a ratio to something that everybody
knows, measured in the same minute, means something.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from testbed.bench import containers, explain, footprint, interop, lab, stacks, throughput, upgrade
from testbed.bench.table import Results, head
from testbed.lab import sandbox

OUT = Path("out")
PARTS = ("lab", "containers", "traversal", "explain", "stacks")
LONG = ("interop",)  # many minutes: only where they are named
_HELP = f"all but {', '.join(LONG)} if none is named"


def main() -> int:
    """Run the parts that are asked for; 0 when the lab is within its two promised ratios."""
    parser = argparse.ArgumentParser(prog="python -m testbed.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="|".join(PARTS + LONG), help=_HELP)
    parts = parser.parse_args().parts or PARTS
    if unknown := set(parts).difference(PARTS, LONG):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    OUT.mkdir(exist_ok=True)
    # Only out here is there a package index to have the rival from.
    rival = footprint.fetch_rival(OUT / "bench-venv") if "traversal" in parts else None
    sandbox.enter()
    results: Results = {}
    kept = True
    head()
    if "traversal" in parts:
        upgrade.measure(results)
        footprint.measure(results, rival)
        throughput.measure(results)
        print(f"  load average of the last minute: {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs")
    if "stacks" in parts:
        stacks.measure(results)
    if "interop" in parts:
        interop.measure(results)
    if "explain" in parts:
        explain.measure(results)
    if "containers" in parts:
        containers.measure(results)
    if "lab" in parts:
        kept = lab.measure(results)
    (OUT / "bench.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
