"""The suite's own arithmetic: a second chance is counted, and too many of them are red."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

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
import pytest


@pytest.fixture(scope="module")
def sweep():
    with open("ran", "a") as file:
        file.write(f"{__name__}@{os.getpid()} ")


@pytest.mark.parametrize("number", range(8))
def test_one(sweep, number):
    pass


@pytest.mark.parametrize("number", range(8))
def test_alone(number):
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
        timeout=60,
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


def test_what_shares_a_fixture_with_its_module_goes_to_one_worker(tmp_path: Path) -> None:
    """The sweep of each module is run once, although there are two workers."""
    for folder in ("conformance", "end_to_end"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            (tmp_path / folder / f"test_{folder}_{name}.py").write_text(SWEEP)
    words = ["-p", "dealing", "-p", "no:cacheprovider", "-n", "2", "--deal-modules"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "."],
        cwd=tmp_path,
        env={"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = (tmp_path / "ran").read_text().split()
    assert sorted(one.split("@")[0] for one in ran) == [
        "test_conformance_a", "test_conformance_b", "test_end_to_end_a", "test_end_to_end_b",
    ]  # fmt: skip
    conformance = {one.split("@")[1] for one in ran if "conformance" in one}
    assert len(conformance) == 1


def test_what_passes_alone_is_green_and_counted() -> None:
    beside = Tally(set(HUNDREDS), {"test_1"}, {"test_2": "busy"})
    found = summed(beside, Tally({"test_1", "test_2"}), Tally({"test_x"}), 1.0)
    assert found == Summary(301, (), ("test_1", "test_2"), (), (), 1.0)
    assert found.green


def test_what_fails_again_or_stays_without_an_answer_is_in_the_summary() -> None:
    beside = Tally(set(HUNDREDS), {"test_1"}, {"test_2": "busy"})
    again = Tally({"test_1", "test_2"}, {"test_1"}, {"test_2": "busy"})
    found = summed(beside, again, Tally({"test_x", "test_y"}, {"test_x"}, {"test_y": "busy"}), 1.0)
    assert (found.failed, found.too_busy) == (("test_1", "test_x"), ("test_2", "test_y"))
    assert not found.green


def test_a_failure_that_was_not_tried_again_stays_one() -> None:
    assert summed(Tally({"a"}, {"a"}, {"b": ""}), Tally(), Tally(), 1.0).failed == ("a",)
    assert summed(Tally({"a"}, {"a"}, {"b": ""}), Tally(), Tally(), 1.0).too_busy == ("b",)


@pytest.mark.parametrize("kind", ["reruns", "too_busy", "repeated"])
def test_one_percent_of_patience_is_green_and_one_test_more_is_red(kind: str) -> None:
    assert replace(CALM, **{kind: ("a", "b", "c")}).green
    assert not replace(CALM, **{kind: ("a", "b", "c", "d")}).green


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


def test_no_two_modules_of_tests_have_one_name():
    """Else they are never collected together, and the whole suite does not run."""
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
