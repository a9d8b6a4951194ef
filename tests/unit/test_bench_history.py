"""The history of benchmarks: a line a commit, and a baseline that holds for one machine."""

from pathlib import Path

import pytest

from testbed.bench.history import (
    Measurement,
    Worse,
    append,
    baseline,
    history,
    keep,
    machine,
    measured,
    page,
    worse,
)
from testbed.errors import UsageError


def measurement(
    commit: str = "abc", place: str = "m, 2 processors", **figures: float
) -> Measurement:
    return Measurement(
        date="2026-11-30 01:00", commit=commit, machine=place, load=1.5, figures=figures
    )


def test_a_commit_has_one_line_with_the_last_of_each_figure(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    for one in (
        measurement("abc", lab=5.0, cell=200.0),
        measurement("def", lab=6.0),
        measurement("abc", lab=4.0),
        measurement("abc", "another machine", lab=9.0),
    ):
        append(file, one)
    found = [(one.commit, one.machine, one.figures) for one in history(file)]
    assert found == [
        ("def", "m, 2 processors", {"lab": 6.0}),
        ("abc", "m, 2 processors", {"lab": 4.0, "cell": 200.0}),
        ("abc", "another machine", {"lab": 9.0}),
    ]


def test_the_page_has_a_table_a_machine_and_the_newest_commit_first() -> None:
    text = page(
        [measurement("old", lab=5.0), measurement("new", cell=2.0), measurement("x", "far", lab=1)]
    )
    assert text.count("## ") == 2
    assert text.index("| new |") < text.index("| old |") < text.index("| x |")
    assert "| new | 2026-11-30 01:00 | 1.5 | 2 |  |" in text


@pytest.mark.parametrize(("now", "red"), [(114.0, False), (116.0, True)])
def test_more_than_fifteen_percent_above_the_baseline_is_red(now: float, red: bool) -> None:
    found = worse(measurement(cell=100.0, gone=1.0), measurement(cell=now, added=7.0))
    assert found == ([Worse("cell", 100.0, now)] if red else [])


def test_no_other_machine_is_compared_with() -> None:
    with pytest.raises(UsageError, match="another machine"):
        worse(measurement(place="far", cell=1.0), measurement(cell=1.0))


def test_a_baseline_is_kept_and_a_damaged_one_refused(tmp_path: Path) -> None:
    file = tmp_path / "baseline.json"
    assert baseline(file) is None
    keep(file, measurement(cell=1.0))
    assert baseline(file) == measurement(cell=1.0)
    file.write_text('{"figures": 7}')
    with pytest.raises(UsageError, match="no measurement"):
        baseline(file)


def test_a_damaged_line_is_named_by_its_number(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    append(file, measurement(lab=1.0))
    file.write_text(file.read_text() + "{}\n")
    with pytest.raises(UsageError, match="line 2"):
        history(file)


def test_a_measurement_says_where_and_when_it_was_made() -> None:
    found = measured({"lab": 1.23456})
    assert found.figures == {"lab": 1.2346}
    assert found.machine == machine()
    assert found.commit
    assert found.load >= 0
