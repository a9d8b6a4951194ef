"""Run the whole suite: side by side, and what failed once more alone.

    python tests/suite.py [--out DIR] [--workers N]

A test that fails, or that finds the machine too busy, is tried again when no other test runs.
The last lines say how many tests needed such patience: reruns, tests that stayed without an
answer, and tests that measured more than once.  Where these are more than 1 % of all tests, the
exit code is 1 although every test passed in the end: a suite that often needs a second chance
proves little.  The same figures are in DIR/summary.json, and in the last line, as JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from patience import Tally

BUDGET = 0.01  # of all tests
# Labs wait for the timers of NATs and of peers, and so there are more workers than processors.
# What only computes has workers besides these (`dealing`), which take what is left.
WORKERS = 3 * (os.cpu_count() or 1)
COMPUTING = 1
ENDED = (0, 1)  # pytest's exit codes of a run that came to its end: all passed, or some failed
NOTHING = 5  # pytest's exit code where no test was selected


@dataclass(frozen=True)
class Summary:
    """What the whole suite gave, and what patience it took."""

    tests: int
    failed: tuple[str, ...]  # at the last try
    reruns: tuple[str, ...]  # failed or found no answer beside others, and were tried again
    too_busy: tuple[str, ...]  # gave no answer at the last try
    repeated: tuple[str, ...]  # measured more than once within one try
    seconds: float

    @property
    def budget(self) -> int:
        return int(self.tests * BUDGET)

    @property
    def patience(self) -> int:
        """How many tests needed more than one try, or stayed without an answer."""
        return len({*self.reruns, *self.too_busy, *self.repeated})

    @property
    def green(self) -> bool:
        return not self.failed and self.patience <= self.budget

    def line(self) -> str:
        """The figures, for a machine."""
        figures = {
            "tests": self.tests,
            "failed": len(self.failed),
            "reruns": len(self.reruns),
            "too_busy": len(self.too_busy),
            "repeated": len(self.repeated),
            "patience": self.patience,
            "budget": self.budget,
            "seconds": round(self.seconds),
            "green": self.green,
        }
        return json.dumps({"suite": figures})

    def text(self) -> str:
        """The same for a reader, with the tests' names."""
        lines = [f"==> {self.tests} tests in {self.seconds:.0f} s"]
        for title, names in (
            ("failed", self.failed),
            ("failed or gave no answer beside others, and were tried again alone", self.reruns),
            ("gave no answer: this machine is too busy", self.too_busy),
            ("measured more than once", self.repeated),
        ):
            lines += [f"==> {len(names)} {title}", *(f"      {name}" for name in names)]
        verdict = "within" if self.patience <= self.budget else "OVER"
        lines.append(
            f"==> {self.patience} tests needed patience: {verdict} the budget {self.budget}"
        )
        return "\n".join(lines)


def summed(beside: Tally, again: Tally, seconds: float) -> Summary:
    """The two runs as one: of a test that was tried again, the second try counts."""
    first_failed = beside.failed - again.tests
    first_busy = beside.too_busy.keys() - again.tests
    return Summary(
        len(beside.tests | again.tests),
        tuple(sorted(first_failed | again.failed)),
        tuple(sorted(again.tests)),
        tuple(sorted(first_busy | again.too_busy.keys())),
        tuple(sorted(beside.repeated.keys() | again.repeated.keys())),
        seconds,
    )


def candidates(beside: Tally) -> list[str]:
    """The tests to be tried again; none where so many failed that the run is red anyhow."""
    names = beside.failed | beside.too_busy.keys()
    return sorted(names) if len(names) <= len(beside.tests) * BUDGET else []


def compiled_once() -> dict[str, str]:
    """The environment of the suite, in which Python keeps what it has compiled.

    Tests start many hundred programs in Python: where nothing is kept, as in many containers, half
    of the suite's time goes into compiling the same modules again.
    """
    return {name: word for name, word in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def pytest(file: Path, *words: str) -> Tally:
    """One run of pytest and its tally; the whole suite ends where pytest came to no end."""
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", f"--tally={file}", *words]
    code = subprocess.run(command, check=False, env=compiled_once()).returncode
    if code not in (*ENDED, NOTHING) or not file.exists():
        print(f"==> pytest came to no end: exit code {code}", file=sys.stderr)
        raise SystemExit(code or 1)
    return Tally.read(file)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("out/suite"), metavar="DIR")
    parser.add_argument(
        "--workers", type=int, default=WORKERS, metavar="N", help="side by side (three a processor)"
    )
    parser.add_argument("tests", nargs="*", default=["tests"], help="default: the whole suite")
    given = parser.parse_args(words)
    out, tests = given.out, given.tests
    started = time.monotonic()
    side_by_side = ("-n", str(given.workers + COMPUTING), f"--deal={COMPUTING}", "--durations=20")
    beside = pytest(out / "beside.json", *side_by_side, f"--costs={out / 'costs.json'}", *tests)
    again, names = Tally(), candidates(beside)
    if not names and (beside.failed or beside.too_busy):
        print("==> too many failed for a second try", flush=True)
    if names:
        print(f"==> {len(names)} tests are tried again alone", flush=True)
        listed = out / "again.txt"
        listed.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        again = pytest(out / "again.json", f"@{listed}")
    summary = summed(beside, again, time.monotonic() - started)
    (out / "summary.json").write_text(summary.line() + "\n", encoding="utf-8")
    print(summary.text())
    print(summary.line())
    return 0 if summary.green else 1


if __name__ == "__main__":
    raise SystemExit(main())
