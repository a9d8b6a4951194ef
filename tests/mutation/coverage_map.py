"""A plugin for pytest: which test ran which line of the rooms, and with how much
processor time.

``pytest -p mutation.coverage_map --map FILE --rooms ROOM,ROOM tests/unit`` writes FILE.main, or
FILE.gw0 and so on, one for each worker of xdist; `merged` puts these together.
"""

import ast
import json
import time
from collections import defaultdict
from collections.abc import Generator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import coverage
import pytest

from mutation.ledger import digest, program


class Mapper:
    """Measures, test by test, what one process runs."""

    def __init__(self, file: Path, rooms: list[str], root: Path) -> None:
        self.file = file
        self.root = root
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
        include = [str(root / room / "*") for room in rooms]
        self.coverage = coverage.Coverage(data_file=None, include=include, config_file=False)
        self.coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.coverage.switch_context(item.nodeid)
        began = time.process_time()  # a busy machine must not make a test look slow
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.process_time() - began
            self.coverage.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self.coverage.stop()
        data = self.coverage.get_data()
        ran: dict[str, dict[int, list[str]]] = defaultdict(dict)
        for file in data.measured_files():
            name = str(Path(file).relative_to(self.root))
            for line, contexts in data.contexts_by_lineno(file).items():
                ran[name][line] = sorted(set(contexts) - {""} - self.failed)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"ran": ran, "seconds": self.seconds})
        self.file.write_text(text, encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--map", type=Path, help="the file to write")
    parser.addoption("--rooms", help="the folders to watch, with commas between them")


@cache
def importing(module: str) -> frozenset[str]:
    """The files of unit tests that import ``module``, a file of the program, by its name."""
    dotted = module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    files = sorted(Path("tests/unit").glob("test_*.py"))
    return frozenset(str(file) for file in files if dotted in _imports(file))


@cache
def _imports(file: Path) -> frozenset[str]:
    """Every dotted name that the file imports, or imports from."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
        elif isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
    return frozenset(found)


def digests(rooms: Sequence[str]) -> dict[str, str]:
    """Of each file of unit tests, and of all that they share, as ""."""
    tests = Path("tests/unit")
    files = sorted(tests.glob("test_*.py"))
    shared = [file for file in sorted(tests.rglob("*.py")) if file not in files]
    return {"": program(rooms) + digest(shared)} | {str(file): digest([file]) for file in files}


def changed(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """The files of tests that must be run to know what they run."""
    same = old.get("") == new[""]
    return [name for name in new if name and not (same and old.get(name) == new[name])]


def merged(file: Path, old: dict[str, Any], new: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What all processes wrote for ``file``, beside what ``old`` knows of tests not in ``new``.

    A line has its tests in the order of their names.
    """
    ran: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    kept = {n: t for n, t in old.get("seconds", {}).items() if n.partition("::")[0] not in new}
    parts = [{"seconds": kept, "ran": old.get("ran", {})}]
    for part in sorted(file.parent.glob(f"{file.name}.*")):
        parts.append(json.loads(part.read_text(encoding="utf-8")))
        part.unlink()
    seconds: dict[str, float] = {}
    for found in parts:
        seconds |= found["seconds"]
        for name, lines in found["ran"].items():
            for line, tests in lines.items():
                ran[name][line].update(test for test in tests if test in found["seconds"])
    whole = {n: {line: sorted(tests) for line, tests in some.items()} for n, some in ran.items()}
    return {"ran": whole, "seconds": seconds}


def pytest_configure(config: pytest.Config) -> None:
    worker = getattr(config, "workerinput", {}).get("workerid", "main")
    if worker == "main" and config.getoption("numprocesses", None):
        return  # the workers measure
    rooms = config.getoption("--rooms").split(",")
    file = config.getoption("--map").absolute()
    mapper = Mapper(file.with_name(f"{file.name}.{worker}"), rooms, config.rootpath)
    config.pluginmanager.register(mapper, "mutation-mapper")
