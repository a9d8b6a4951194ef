"""A plugin for pytest that counts what tests cost: their time, and their processor time.

Where tests are run side by side, one that waits costs nearly nothing, and one that computes costs
all others their time.  Therefore ``--costs FILE`` writes both for each test, as JSON, with the
worker that ran it and when it began, in seconds since the first test; and the modules that cost
most are shown at the end.  What a test's programs took counts as its own, once they were waited
for; what a fixture took counts as that of the test that made or ended it.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SHOWN = 15  # modules
Spent = tuple[float, float]  # seconds, and seconds of processors
_BEGUN: "pytest.StashKey[Spent]" = pytest.StashKey()


def _now() -> Spent:
    return time.monotonic(), sum(os.times()[:4])


@dataclass
class Costs:
    """What each test has cost so far, by its node id."""

    file: Path
    spent: dict[str, Spent] = field(default_factory=dict)
    begun: dict[str, tuple[str, float]] = field(default_factory=dict)  # by which worker, and when

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.begun.setdefault(report.nodeid, (getattr(report, "worker_id", "here"), report.start))
        seconds, processor = self.spent.get(report.nodeid, (0.0, 0.0))
        took, used = getattr(report, "spent", (0.0, 0.0))
        self.spent[report.nodeid] = (seconds + took, processor + used)

    def pytest_sessionfinish(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        zero = min((begun for _, begun in self.begun.values()), default=0.0)
        rounded = {
            name: [round(took, 2), round(used, 2), worker, round(begun - zero, 2)]
            for (name, (took, used)), (worker, begun) in zip(
                self.spent.items(), self.begun.values(), strict=True
            )
        }
        self.file.write_text(json.dumps(rounded, sort_keys=True), encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        seconds, processor = defaultdict[str, float](float), defaultdict[str, float](float)
        for name, (took, used) in self.spent.items():
            module = name.partition("::")[0]
            seconds[module] += took
            processor[module] += used
        terminalreporter.section(f"processor time: {sum(processor.values()):.0f} s")
        for used, module in sorted(((n, name) for name, n in processor.items()), reverse=True)[
            :SHOWN
        ]:
            terminalreporter.line(f"{used:7.1f} s, in {seconds[module]:7.1f} s: {module}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--costs", type=Path, metavar="FILE", help="write what each test costs")


def pytest_configure(config: pytest.Config) -> None:
    given: Path | None = config.getoption("--costs")
    if given and not hasattr(config, "workerinput"):
        file = Path(config.invocation_params.dir, given)
        config.pluginmanager.register(Costs(file), "costs-counter")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.stash[_BEGUN] = _now()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put on the report what its phase took."""
    report = yield
    begun, now = item.stash[_BEGUN], _now()
    item.stash[_BEGUN] = now
    report.spent = (now[0] - begun[0], now[1] - begun[1])  # type: ignore[attr-defined]
    return report
