"""The suite's own arithmetic: a second chance is counted, and too many of them are red."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from patience import Tally
from suite import Summary, candidates, summed

TESTS = Path(__file__).parents[1]
HUNDREDS = {f"test_{n}" for n in range(300)}
CALM = Summary(300, (), (), (), (), 1.0)

PROJECT = """
import pytest
from patience import repeated, too_busy


def test_sure():
    pass


def test_measured_twice():
    repeated("a frame was late")


def test_wrong():
    assert False


def test_left_out():
    pytest.skip("no such tool")


@pytest.fixture(scope="module")
def lab():
    too_busy("nobody was punctual")


def test_busy(lab):
    pass


def test_busy_by_the_same_fixture(lab):
    pass
"""


SWEEP = """
import os
import time
import pytest


def note(word):
    with open("ran", "a") as file:
        file.write(f"{word} {__name__} {os.getpid()} {os.nice(0)}\\n")


@pytest.fixture(scope="module")
def sweep():
    note("begin")
    time.sleep(0.3)
    note("end")


@pytest.fixture
def part(sweep):
    pass


@pytest.mark.parametrize("number", range(8))
def test_one(part, number):
    note("shared")


@pytest.mark.parametrize("number", range(8))
def test_alone(number):
    note("alone")
"""

COSTLY = """
import subprocess, sys, time
import pytest

BUSY = "import time\\nwhile time.process_time() < 0.5: pass"


@pytest.fixture
def computed():
    subprocess.run([sys.executable, "-c", BUSY])


def test_waits():
    time.sleep(0.5)


def test_runs():
    subprocess.run([sys.executable, "-c", BUSY])


def test_uses(computed):
    pass
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_repeats_and_busy_skips_are_told_from_other_skips(
    workers: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(PROJECT)
    words = ["-p", "patience", "-p", "no:cacheprovider", "--tally=tally.json", *workers]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "test_it.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    tally = Tally.read(tmp_path / "tally.json")
    assert len(tally.tests) == 6
    assert tally.failed == {"test_it.py::test_wrong"}
    assert tally.repeated == {"test_it.py::test_measured_twice": ["a frame was late"]}
    assert set(tally.too_busy) == {
        "test_it.py::test_busy",
        "test_it.py::test_busy_by_the_same_fixture",
    }
    assert "nobody was punctual" in done.stdout


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_what_a_test_and_its_programs_compute_is_its_cost_and_waiting_is_not(
    workers: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(COSTLY)
    words = ["-p", "costs", "-p", "no:cacheprovider", "--costs=costs.json", *workers]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "test_it.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    costs = json.loads((tmp_path / "costs.json").read_text())
    waits, computes, fixture = (costs[f"test_it.py::test_{n}"] for n in ("waits", "runs", "uses"))
    assert waits[0] >= 0.4
    assert waits[1] < 0.3
    assert computes[1] >= 0.4
    assert fixture[1] >= 0.4
    assert "test_it.py" in done.stdout.partition("processor time")[2]
    assert {one[2] for one in costs.values()} == ({"gw0", "gw1"} if workers else {"here"})
    begun = sorted(one[3] for one in costs.values())
    assert begun[0] == 0 < begun[-1] < 60


@pytest.fixture(scope="module")
def dealt(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What modules of three folders noted, with four workers, of which one computes."""
    place = tmp_path_factory.mktemp("dealt")
    for folder in ("conformance", "end_to_end", "unit"):
        (place / folder).mkdir()
        for name in ("a", "b", "c"):
            (place / folder / f"test_{folder}_{name}.py").write_text(SWEEP)
    words = ["-p", "dealing", "-p", "no:cacheprovider", "-n", "4", "--deal", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "."],
        cwd=place,
        env={"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split() for line in (place / "ran").read_text().splitlines()]


def test_what_shares_a_fixture_with_its_module_goes_to_one_worker(dealt: list[list[str]]) -> None:
    """The sweep of each module is run once, although there are several workers."""
    begun = Counter(module for word, module, *_ in dealt if word == "begin")
    assert set(begun.values()) == {1}
    assert len(begun) == 9
    workers = {(module, pid) for word, module, pid, _ in dealt if word == "shared"}
    assert len(workers) == 9


def test_no_more_than_two_sweeps_are_run_at_once(dealt: list[list[str]]) -> None:
    at_once, most = 0, 0
    for word, module, *_ in dealt:
        if "conformance" in module:
            at_once += {"begin": 1, "end": -1}.get(word, 0)
            most = max(most, at_once)
    assert most <= 2


def test_what_only_computes_lets_labs_go_first(dealt: list[list[str]]) -> None:
    own = int(os.nice(0))
    polite = {module for *_, module, _, nice in dealt if int(nice) > own}
    assert polite
    assert all("unit" in module for module in polite)


def test_what_passes_alone_is_green_and_counted() -> None:
    beside = Tally(set(HUNDREDS), {"test_1"}, {"test_2": "busy"})
    found = summed(beside, Tally({"test_1", "test_2"}), 1.0)
    assert found == Summary(300, (), ("test_1", "test_2"), (), (), 1.0)
    assert found.green


def test_what_fails_again_or_stays_without_an_answer_is_in_the_summary() -> None:
    beside = Tally(set(HUNDREDS), {"test_1"}, {"test_2": "busy"})
    again = Tally({"test_1", "test_2"}, {"test_1"}, {"test_2": "busy"})
    found = summed(beside, again, 1.0)
    assert (found.failed, found.too_busy) == (("test_1",), ("test_2",))
    assert not found.green


def test_a_failure_that_was_not_tried_again_stays_one() -> None:
    assert summed(Tally({"a"}, {"a"}, {"b": ""}), Tally(), 1.0).failed == ("a",)
    assert summed(Tally({"a"}, {"a"}, {"b": ""}), Tally(), 1.0).too_busy == ("b",)


@pytest.mark.parametrize("kind", ["reruns", "too_busy", "repeated"])
def test_one_percent_of_patience_is_green_and_one_test_more_is_red(kind: str) -> None:
    few: dict[str, Any] = {kind: ("a", "b", "c")}
    many: dict[str, Any] = {kind: ("a", "b", "c", "d")}
    assert replace(CALM, **few).green
    assert not replace(CALM, **many).green


def test_a_test_that_needed_patience_twice_counts_once() -> None:
    assert replace(CALM, reruns=("a",), too_busy=("a",), repeated=("a", "b")).patience == 2


def test_one_failure_is_red() -> None:
    assert not replace(CALM, failed=("a",)).green


def test_no_more_tests_are_tried_again_than_the_budget_allows() -> None:
    names = sorted(HUNDREDS)
    assert candidates(Tally(set(HUNDREDS), set(names[:2]), {names[2]: ""})) == names[:3]
    assert candidates(Tally(set(HUNDREDS), set(names[:4]))) == []


def test_the_last_line_is_for_machines() -> None:
    figures = json.loads(replace(CALM, too_busy=("a",)).line())["suite"]
    assert (figures["tests"], figures["too_busy"], figures["budget"]) == (300, 1, 3)
    assert figures["green"] is True


def test_no_two_modules_of_tests_have_one_name() -> None:
    """Else they are never collected together, and the whole suite does not run."""
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_no_replacement_hides_from_mypy_that_its_signature_is_another() -> None:
    """Else a process of a test dies of it unseen, once the product's function has another."""
    codes = r"\[[^\]]*\b(assignment|call-arg|override)\b"
    hides = re.compile(rf"#\s*type: ignore(?!\[)|#\s*type: ignore{codes}")
    files = sorted(TESTS.rglob("*.py"))
    assert [path.name for path in files if hides.search(path.read_text(encoding="utf-8"))] == []


def test_no_library_can_make_its_folder_where_the_suite_looks_for_configuration() -> None:
    with pytest.raises(OSError, match="No such file"):
        Path(os.environ["XDG_CONFIG_HOME"], "scapy").mkdir(parents=True)
