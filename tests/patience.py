"""A plugin for pytest that counts what a busy machine costs: repeats and skips.

Labs have clocks, and a machine that is busy with other tests can spoil what a test measures.
Such a test may measure again (`repeated`) or give no answer (`too_busy`).  Both are patience,
and patience can hide a fault.  Therefore this plugin counts both, in workers of xdist as well,
and shows them at the end; ``--tally FILE`` writes them for `suite`, which holds them against a
budget.
"""

import json
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

_repeats: list[str] = []  # of the running test, since the last report


class TooBusy(pytest.skip.Exception):  # type: ignore[misc, name-defined]
    """A test, or a fixture that many tests share, has no answer on a machine as busy as this."""


def repeated(reason: str) -> None:
    """Count that the running test measures again, because this machine was too busy."""
    _repeats.append(reason)


def too_busy(reason: str) -> NoReturn:
    """Skip the running test, and all others of the fixture that calls this."""
    raise TooBusy(f"this machine is too busy: {reason}")


@dataclass
class Tally:
    """What a run of pytest saw, by the tests' node ids."""

    tests: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    too_busy: dict[str, str] = field(default_factory=dict)
    repeated: dict[str, list[str]] = field(default_factory=dict)

    def add(self, report: pytest.TestReport) -> None:
        """Take in a report of one phase of a test."""
        name = report.nodeid
        self.tests.add(name)
        if report.failed:
            self.failed.add(name)
        if (reason := getattr(report, "too_busy", None)) is not None:
            self.too_busy[name] = reason
        if repeats := getattr(report, "repeats", None):
            self.repeated.setdefault(name, []).extend(repeats)

    def to_json(self) -> dict[str, Any]:
        return {
            "tests": sorted(self.tests),
            "failed": sorted(self.failed),
            "too_busy": self.too_busy,
            "repeated": self.repeated,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Tally":
        return cls(set(data["tests"]), set(data["failed"]), data["too_busy"], data["repeated"])

    @classmethod
    def read(cls, file: Path) -> "Tally":
        return cls.from_json(json.loads(file.read_text(encoding="utf-8")))


class Counter:
    """The hooks of the process that reports; a worker's reports reach it as they are."""

    def __init__(self, file: Path | None) -> None:
        self.tally = Tally()
        self.file = file

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.tally.add(report)

    def pytest_sessionfinish(self) -> None:
        if self.file is not None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps(self.tally.to_json(), indent=1), encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        tally = self.tally
        if not (tally.too_busy or tally.repeated):
            return
        terminalreporter.section("what a busy machine cost")
        for name, reasons in sorted(tally.repeated.items()):
            terminalreporter.line(f"REPEATED [{len(reasons)}] {name}: {reasons[-1]}")
        for name, reason in sorted(tally.too_busy.items()):
            terminalreporter.line(f"TOO BUSY {name}: {reason}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--tally", type=Path, metavar="FILE", help="write outcomes, repeats and skips as JSON"
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        given: Path | None = config.getoption("--tally")
        file = given and Path(config.invocation_params.dir, given)
        config.pluginmanager.register(Counter(file), "patience-counter")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put on the report what the test noted: plain values, which pass between processes."""
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, TooBusy):
        report.too_busy = str(call.excinfo.value)  # type: ignore[attr-defined]
    report.repeats = [*_repeats]  # type: ignore[attr-defined]
    _repeats.clear()
    return report
