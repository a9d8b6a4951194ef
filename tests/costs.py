"""A plugin for pytest that counts what tests cost: their time, and their processor time.

Where tests are run side by side, one that waits costs nearly nothing, and one that computes costs
all others their time.  Therefore ``--costs FILE`` writes both for each test, as JSON, and the
modules that cost most are shown at the end.  What a test's programs took counts as its own, once
they were waited for; what a fixture took counts as that of the test that made or ended it.
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

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        seconds, processor = self.spent.get(report.nodeid, (0.0, 0.0))
        took, used = getattr(report, "spent", (0.0, 0.0))
        self.spent[report.nodeid] = (seconds + took, processor + used)

    def pytest_sessionfinish(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        rounded = {name: [round(one, 2) for one in spent] for name, spent in self.spent.items()}
        self.file.write_text(json.dumps(rounded, indent=1, sort_keys=True), encoding="utf-8")

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
