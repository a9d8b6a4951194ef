"""A plugin for pytest: which test ran which line of the rooms, and for how long.

``pytest -p mutation.coverage_map --map FILE --rooms ROOM,ROOM tests/unit``
"""

import json
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import coverage
import pytest


class Mapper:
    """Measures, test by test, within one process."""

    def __init__(self, file: Path, rooms: list[str], root: Path) -> None:
        self.file = file
        self.root = root
        self.seconds: dict[str, float] = {}
        include = [str(root / room / "*") for room in rooms]
        self.coverage = coverage.Coverage(data_file=None, include=include, config_file=False)
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.coverage.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self.coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        data = self.coverage.get_data()
        ran: dict[str, dict[int, list[str]]] = defaultdict(dict)
        for file in data.measured_files():
            name = str(Path(file).relative_to(self.root))
            for line, contexts in data.contexts_by_lineno(file).items():
                ran[name][line] = sorted(context for context in contexts if context)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"ran": ran, "seconds": self.seconds})
        self.file.write_text(text, encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--map", type=Path, help="the file to write")
    parser.addoption("--rooms", help="the folders to watch, with commas between them")


def pytest_configure(config: pytest.Config) -> None:
    rooms = config.getoption("--rooms").split(",")
    mapper = Mapper(config.getoption("--map").absolute(), rooms, config.rootpath)
    config.pluginmanager.register(mapper, "mutation-mapper")
