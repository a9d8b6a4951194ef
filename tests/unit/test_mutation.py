"""The mutation run: which faults it makes, and that it tells a noticed one from another."""

import ast
import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from mutation.__main__ import NAMED, LineMap, report, tried, without_equivalent
from mutation.mutants import Mutant, mutants
from mutation.trial import Fate, Watch, fate, wait

HERE = Path(__file__).parent

MODULE = b'''"""A module."""

import enum


class Way(enum.Enum):
    A = "a"
    B = "b"


TABLE = (Way.A, Way.B)


def f(x: int | None, y: list[int]) -> int:
    """No mutant of these words: 1 == 2."""
    if x is None and y:
        return max(y) + 1
    for one in y:
        if not one:
            continue
    print(f"{x == 1}")
    return 0 if "\xc3\xa9" != "e" else 1
'''


def changed() -> set[tuple[int, str, str, str]]:
    return {(one.line, one.kind, one.before, one.after) for one in mutants("m.py", MODULE)}


@pytest.mark.parametrize(
    "expected",
    [
        (11, "member", "Way.A", "Way.B"),
        (11, "element removed", "(Way.A, Way.B)", "((Way.B,))"),
        (16, "comparison", "x is None", "(x is not None)"),
        (16, "and/or", "x is None and y", "(x is None or y)"),
        (16, "operand removed", "x is None and y", "(y)"),
        (16, "condition", "x is None and y", "(not (x is None and y))"),
        (17, "operator", "max(y) + 1", "(max(y) - 1)"),
        (17, "constant", "1", "2"),
        (17, "call", "max", "min"),
        (17, "return", "return max(y) + 1", "return None"),
        (19, "not", "not one", "(one)"),
        (20, "loop", "continue", "break"),
        (21, "statement removed", 'print(f"{x == 1}")', "pass"),
        (22, "comparison", '"é" != "e"', "('é' == 'e')"),
        (22, "condition", '0 if "é" != "e" else 1', "(1 if 'é' != 'e' else 0)"),
    ],
    ids=lambda one: f"{one[0]} {one[1]}",
)
def test_each_kind_of_fault_is_made(expected: tuple[int, str, str, str]) -> None:
    assert expected in changed()


def test_words_and_annotations_are_left_alone() -> None:
    assert {line for line, *_ in changed()} <= {11, 16, 17, 19, 20, 21, 22}
    assert not [one for one in changed() if one[2] in ("int | None", "x == 1", "1 == 2")]


def test_every_mutant_of_a_real_module_is_another_program() -> None:
    path = Path("testbed/predict/nat.py")
    source = path.read_bytes()
    found = mutants(str(path), source)
    assert len(found) > 100
    plain = ast.dump(ast.parse(source))
    for one in found:
        assert ast.dump(ast.parse(one.applied(source))) != plain, one


CODE = """def sign(x):
    if x > 0:
        return 1
    return -1


def lone():
    return 7
"""
TESTS = """from pkg.sign import sign


def test_one():
    assert sign(5) == 1


def test_other():
    assert sign(-5) == -1
"""
BOTH = ["test_sign.py::test_one", "test_sign.py::test_other"]
LINES = {"2": BOTH, "3": BOTH[:1], "4": BOTH[1:], "8": []}


def run(folder: Path, tests: str = TESTS) -> subprocess.CompletedProcess[str]:
    """The whole run over a package of two functions, whose border no test looks at."""
    (folder / "pkg").mkdir()
    (folder / "pkg" / "sign.py").write_text(CODE)
    (folder / "test_sign.py").write_text(tests)
    known = {"ran": {"pkg/sign.py": LINES}, "seconds": dict.fromkeys(BOTH, 0.1)}
    (folder / "map.json").write_text(json.dumps(known))
    words = ["--map=map.json", "--out=out", "--rooms", "pkg", "--equivalent=none.toml"]
    (folder / "none.toml").touch()
    return subprocess.run(
        [sys.executable, "-m", "mutation", *words],
        cwd=folder,
        env={"PYTHONPATH": f"{HERE.parent}:{folder}"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_fault_that_a_test_sees_is_killed_and_another_survives(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr  # far more than a tenth survive
    rows = json.loads((tmp_path / "out" / "report.json").read_text())["mutants"]
    fates = {(row["line"], row["after"]): row["fate"] for row in rows if row["line"] < 4}
    assert fates == {
        (2, "(not x > 0)"): "killed",
        (2, "(x >= 0)"): "survived",
        (2, "1"): "survived",
        (3, "2"): "killed",
        (3, "return None"): "killed",
    }
    survivors = (tmp_path / "out" / "survivors.txt").read_text()
    assert "pkg/sign.py:2: comparison, survived" in survivors
    assert "    +    if (x >= 0):" in survivors
    assert (tmp_path / "pkg" / "sign.py").read_text() == CODE


def test_where_tests_fail_without_a_mutant_no_mutant_is_tried(tmp_path: Path) -> None:
    done = run(tmp_path, TESTS.replace("-5", "5"))
    assert done.returncode == 1
    assert "the tests fail without a mutant" in done.stderr


def test_a_fault_that_never_ends_is_noticed() -> None:
    child = os.fork()
    if child == 0:
        signal.pause()
    ended, status = wait({child: Watch(child)}, patience=0.0)
    assert (ended, fate(status)) == (child, Fate.ENDLESS)
    assert fate(signal.SIGXCPU) is Fate.ENDLESS


def test_a_child_that_waits_for_a_processor_does_not_sleep() -> None:
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        while True:
            pass
    try:
        watch = Watch(child)
        os.waitpid(child, os.WUNTRACED)
        watch.slept()  # it is stopped, and uses nothing
        began = watch.since
        os.kill(child, signal.SIGCONT)
        while watch.since == began:
            watch.slept()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_tests_are_tried_in_groups_the_quickest_first() -> None:
    seconds = {"t::a": 0.5, "t::b": 3.0, "t::c": 4.0, "t::d": 70.0, "t::e": 80.0}
    tested = LineMap({"pkg/sign.py": {"2": sorted(seconds, reverse=True)}}, seconds)
    assert tested.of(ONE) == [["t::a"], ["t::b"], ["t::c"], ["t::d"]]
    assert tested.cost(tested.of(ONE)) == 77.5
    only = LineMap({"pkg/sign.py": {"2": ["t::e"]}}, {"t::e": 200.0})
    assert only.of(ONE) == [["t::e"]], "one test is always tried"


def test_a_trial_that_did_not_take_place_kills_nothing() -> None:
    assert (fate(0), fate(1 << 8), fate(2 << 8)) == (Fate.SURVIVED, Fate.KILLED, Fate.KILLED)
    with pytest.raises(RuntimeError, match="did not take place"):
        fate(3 << 8)


ONE = Mutant("pkg/sign.py", 2, 0, 0, "comparison", "x > 0", "(x >= 0)")


def test_what_no_test_runs_is_a_survivor_and_a_tenth_of_them_is_red(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "sign.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    assert tried([ONE], LineMap({}, {}), 1) == {ONE: Fate.UNTESTED}
    nine = {Mutant("pkg/sign.py", n, 0, 0, "", "", ""): Fate.KILLED for n in range(9)}
    assert report(tmp_path, nine | {ONE: Fate.UNTESTED}, 1, 1.0) == 1
    ten = nine | {Mutant("pkg/sign.py", 9, 0, 0, "", "", ""): Fate.ENDLESS}
    assert report(tmp_path, ten | {ONE: Fate.SURVIVED}, 1, 1.0) == 0
    assert "pkg/sign.py:2: comparison, survived" in (tmp_path / "survivors.txt").read_text()
    assert "9.1%, below 10%" in capsys.readouterr().out


def test_each_named_mutant_has_its_text_once_and_tests_that_there_are() -> None:
    entries = tomllib.loads(NAMED.read_text(encoding="utf-8"))["mutant"]
    for one in entries:
        assert Path(one["file"]).read_text().count(one["before"]) == 1, one["name"]
        assert one["before"] != one["after"]
        assert all(Path(test).exists() for test in one["tests"]), one["name"]


def test_an_equivalent_mutant_is_left_out_with_a_reason_and_one_that_is_none_is_an_error(
    tmp_path: Path,
) -> None:
    text = '[[mutant]]\nfile = "pkg/sign.py"\nbefore = "x > 0"\nafter = "(x >= 0)"\nreason = "{}"\n'
    file = tmp_path / "equivalent.toml"
    file.write_text(text.format("0 is never given"), encoding="utf-8")
    assert without_equivalent([ONE], file) == []
    with pytest.raises(SystemExit, match="no such mutant"):
        without_equivalent([], file)
    file.write_text(text.format(""), encoding="utf-8")
    assert without_equivalent([ONE], file) == [ONE]
