"""Give each command that reads files of strangers mutated ones, and see what it makes of them.

A mutant is well taken if the exit code is a documented one, within 20 seconds of a processor and
without a traceback; if nothing that is printed is a command for a terminal or for a CI, nothing of
files outside of the folder is shown, and none of them is written.  The exit code is 1 otherwise.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from strangers.commands import COMMANDS, tried
from testbed.lab import sandbox

SHOWN = 12


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make strangers", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="mutants for each command (2000)")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first (0)")
    parser.add_argument("--seconds", type=float, default=1e9, help="for each command at most")
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=[*COMMANDS])
    given = parser.parse_args(words)
    if any(COMMANDS[name].lab for name in given.commands):
        sandbox.enter()
    figures: dict[str, dict[str, int]] = {}
    for name in given.commands:
        began, wrong, count = time.monotonic(), 0, 0
        with tempfile.TemporaryDirectory() as place:
            for seed in range(given.first, given.first + given.count):
                if time.monotonic() - began > given.seconds:
                    break
                count += 1
                if found := tried(COMMANDS[name], Path(place), seed):
                    wrong += 1
                    if wrong <= SHOWN:
                        print(f"{name} {seed}: {found}", flush=True)
        figures[name] = {"mutants": count, "wrong": wrong}
        print(json.dumps({name: figures[name]}), flush=True)
    print(json.dumps({"strangers": figures}))
    return int(any(one["wrong"] for one in figures.values()))


if __name__ == "__main__":
    raise SystemExit(main())
