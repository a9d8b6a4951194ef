"""The mutation run: which faults it makes, and that it tells a noticed one from another."""

import ast
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mutation.__main__ import NAMED, LineMap, chosen, report, tried, without_equivalent
from mutation.coverage_map import changed as changed_files
from mutation.coverage_map import importing, merged
from mutation.ledger import End, Ledger
from mutation.mutants import Mutant, mutants
from mutation.trial import Child, Fate, fate, wait

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
SEEN = {
    (2, "(not x > 0)"): "killed",
    (2, "(x >= 0)"): "survived",
    (2, "1"): "survived",
    (3, "2"): "killed",
    (3, "return None"): "killed",
}
LINES = {"2": BOTH, "3": BOTH[:1], "4": BOTH[1:], "8": []}


def run(
    folder: Path, tests: str = TESTS, lines: dict[str, list[str]] = LINES
) -> subprocess.CompletedProcess[str]:
    """The whole run over a package of two functions, whose border no test looks at."""
    (folder / "pkg").mkdir(exist_ok=True)
    (folder / "pkg" / "sign.py").write_text(CODE)
    (folder / "test_sign.py").write_text(tests)
    seconds = {name: 0.1 for some in lines.values() for name in some}
    known = {"ran": {"pkg/sign.py": lines}, "seconds": seconds}
    (folder / "map.json").write_text(json.dumps(known))
    words = ["--map=map.json", "--out=out", "--equivalent=none.toml", "--rooms", "pkg", "--load"]
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
    assert fates == SEEN
    survivors = (tmp_path / "out" / "survivors.txt").read_text()
    assert "pkg/sign.py:2: comparison, survived" in survivors
    assert "    +    if (x >= 0):" in survivors
    assert (tmp_path / "pkg" / "sign.py").read_text() == CODE


def test_where_tests_fail_without_a_mutant_no_mutant_is_tried(tmp_path: Path) -> None:
    done = run(tmp_path, TESTS.replace("-5", "5"))
    assert done.returncode == 1
    assert "the tests fail without a mutant" in done.stderr


def fates_with(folder: Path, busy: str) -> tuple[object, str]:
    """What a run finds where `test_busy` runs each line of the first function, too."""
    lines = {"2": [*BOTH, "test_sign.py::test_busy"], "3": BOTH[:1], "4": BOTH[1:], "8": []}
    done = run(folder, TESTS + busy, lines)
    rows = json.loads((folder / "out" / "report.json").read_text())["mutants"]
    found = {(row["line"], row["after"]): row["fate"] for row in rows if row["line"] < 4}
    return found, done.stdout


def test_a_test_that_fails_without_a_mutant_in_the_end_has_noticed_none(tmp_path: Path) -> None:
    found, told = fates_with(
        tmp_path,
        f"""
def test_busy():
    seen = __import__("pathlib").Path({str(tmp_path / "out" / "seen")!r})
    first = not seen.exists()
    seen.touch()
    assert first
""",
    )
    assert "fail without a mutant, and are left out: ['test_sign.py::test_busy']" in told
    assert found == SEEN


def test_a_test_that_fails_once_and_not_again_has_noticed_nothing(tmp_path: Path) -> None:
    busy = """
FIRST = [True]


def test_busy():
    assert not (FIRST and FIRST.pop())
"""
    found, told = fates_with(tmp_path, busy)
    assert "left out" not in told
    assert found == SEEN


def test_another_run_tries_again_only_what_a_new_test_may_notice(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert "are known" not in first.stdout
    again = run(tmp_path)
    assert "==> 9 of them are known" in again.stdout, again.stdout + again.stderr
    assert again.stdout.splitlines()[-2] == first.stdout.splitlines()[-2]


def test_what_was_found_holds_for_the_same_program_and_the_same_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {"pkg/sign.py": CODE, "tests/unit/test_a.py": "", "t.py": TESTS}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    file, lives = tmp_path / "fates.jsonl", replace(ONE, line=3)
    killed, survived = End(Fate.KILLED, "t.py::test_one"), End(Fate.SURVIVED, "t.py::test_other")

    def kept() -> list[End | None]:
        found = Ledger(file, ["pkg"])
        return [found.end(ONE), found.end(lives)]

    ledger = Ledger(file, ["pkg"])
    ledger.add(ONE, killed)
    ledger.add(lives, survived)
    assert kept() == [killed, survived]
    (tmp_path / "tests/unit/test_b.py").touch()
    assert kept() == [killed, None], "a new test may notice what survived"
    (tmp_path / "t.py").write_text(TESTS + "\n")
    assert kept() == [None, None], "the test that noticed is another one"
    (tmp_path / "t.py").write_text(TESTS)
    (tmp_path / "pkg/other.py").touch()
    assert kept() == [None, None], "the program is another one"


def test_the_same_mutants_are_chosen_after_a_change_elsewhere() -> None:
    found = [replace(ONE, file=f"pkg/m{n}.py") for n in range(40)]
    sample = chosen(found, 10, seed=1)
    moved = [replace(one, line=one.line + 9, start=5, end=9) for one in found]
    assert [one.file for one in chosen(moved, 10, seed=1)] == [one.file for one in sample]
    assert set(chosen(found[1:], 9, seed=1)) >= set(sample[:9]) - {found[0]}
    assert chosen(found, 10, seed=2) != sample


def forked(does: Callable[[], object]) -> Child:
    child = os.fork()
    if child == 0:
        os.setsid()
        does()
        os._exit(0)
    return Child(child, -1)


def test_a_fault_that_never_ends_is_noticed() -> None:
    child = wait([forked(signal.pause)], patience=0.0)
    assert fate(child.status) is Fate.ENDLESS
    assert fate(signal.SIGXCPU) is Fate.ENDLESS


def test_a_child_that_waits_for_a_processor_does_not_sleep() -> None:
    child = forked(stopped_and_busy)
    os.waitpid(child.pid, os.WUNTRACED)
    no_sleep_once_continued(child, child.pid)


def test_a_child_whose_own_child_is_busy_does_not_sleep() -> None:
    receiving, sending = os.pipe()

    def parent() -> None:
        inner = os.fork()
        if inner == 0:
            stopped_and_busy()
        os.waitpid(inner, os.WUNTRACED)
        os.write(sending, str(inner).encode())
        signal.pause()

    child = forked(parent)
    no_sleep_once_continued(child, int(os.read(receiving, 20)))
    os.close(receiving)
    os.close(sending)


def stopped_and_busy() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        pass


def no_sleep_once_continued(child: Child, stopped: int) -> None:
    try:
        child.slept()  # all of it is stopped, and uses nothing
        began = child.since
        os.kill(stopped, signal.SIGCONT)
        while child.since == began:
            child.slept()
    finally:
        child.end()
        os.waitpid(child.pid, 0)


def test_tests_are_tried_in_groups_the_quickest_first() -> None:
    seconds = {"t::a": 0.5, "t::b": 3.0, "t::c": 4.0, "t::d": 70.0, "t::e": 80.0}
    tested = LineMap({"pkg/sign.py": {"2": sorted(seconds, reverse=True)}}, seconds)
    assert tested.of(ONE) == [["t::a"], ["t::b"], ["t::c"], ["t::d"]]
    assert tested.cost(tested.of(ONE)) == 77.5
    only = LineMap({"pkg/sign.py": {"2": ["t::e"]}}, {"t::e": 200.0})
    assert only.of(ONE) == [["t::e"]], "one test is always tried"


def test_a_table_concerns_the_tests_that_import_its_module() -> None:
    here = "tests/unit/test_mutation.py::test_x"
    table = replace(ONE, file="tests/mutation/mutants.py", line=3)
    assert "tests/unit/test_mutation.py" in importing("mutation/mutants.py")
    assert importing("testbed/predict/nat.py") >= {"tests/unit/test_oracle_nat.py"}
    tested = LineMap({table.file: {"90": ["t::a"]}}, {here: 1.0, "t::a": 2.0})
    assert tested.of(table) == [["t::a"]], "nobody imports it by this name"
    named = replace(table, file="testbed/predict/nat.py")
    nat = "tests/unit/test_oracle_nat.py::test_y"
    tested = LineMap({named.file: {"90": ["t::a"]}}, {here: 1.0, "t::a": 2.0, nat: 0.5})
    assert tested.of(named) == [[nat], ["t::a"]]


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
    assert tried([ONE], LineMap({}, {}), 1) == {ONE: End(Fate.UNTESTED)}
    nine = {Mutant("pkg/sign.py", n, 0, 0, "", "", ""): End(Fate.KILLED) for n in range(9)}
    assert report(tmp_path, nine | {ONE: End(Fate.UNTESTED)}, 1, 1.0) == 1
    ten = nine | {Mutant("pkg/sign.py", 9, 0, 0, "", "", ""): End(Fate.ENDLESS)}
    assert report(tmp_path, ten | {ONE: End(Fate.SURVIVED)}, 1, 1.0) == 0
    assert "pkg/sign.py:2: comparison, survived" in (tmp_path / "survivors.txt").read_text()
    assert "9.1%, below 10%" in capsys.readouterr().out


def test_each_named_mutant_has_its_text_once_and_tests_that_there_are() -> None:
    entries = tomllib.loads(NAMED.read_text(encoding="utf-8"))["mutant"]
    for one in entries:
        assert Path(one["file"]).read_text().count(one["before"]) == 1, one["name"]
        assert one["before"] != one["after"]
        assert all(Path(test).exists() for test in one["tests"]), one["name"]


def test_an_equivalent_mutant_is_left_out_with_a_reason_and_one_that_is_none_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "sign.py").write_text(CODE)
    entry = {"file": "pkg/sign.py", "where": "if x > 0:", "before": "x > 0", "after": "(x >= 0)"}
    file = tmp_path / "equivalent.toml"

    def listed(**changes: str) -> list[Mutant]:
        values = entry | {"reason": "0 is never given"} | changes
        lines = [f'{key} = "{value}"' for key, value in values.items()]
        file.write_text("\n".join(["[[mutant]]", *lines]), encoding="utf-8")
        return without_equivalent([ONE], file)

    assert listed() == []
    assert listed(reason="") == [ONE]
    with pytest.raises(SystemExit, match="no such mutant"):
        listed(where="return 1")


def test_only_changed_files_of_tests_are_mapped_again(tmp_path: Path) -> None:
    old = {"": "p", "a.py": "1", "b.py": "1", "gone.py": "1"}
    assert changed_files(old, {"": "p", "a.py": "1", "b.py": "2", "c.py": "1"}) == ["b.py", "c.py"]
    assert changed_files(old, {"": "q", "a.py": "1"}) == ["a.py"]
    known = {
        "ran": {"m.py": {"1": ["a.py::t", "b.py::old"]}},
        "seconds": dict.fromkeys(("a.py::t", "b.py::old"), 1.0),
    }
    part = {"ran": {"m.py": {"1": ["b.py::new"]}}, "seconds": {"b.py::new": 2.0}}
    (tmp_path / "map.json.gw0").write_text(json.dumps(part))
    found = merged(tmp_path / "map.json", known, ["b.py"])
    assert found["ran"] == {"m.py": {"1": ["a.py::t", "b.py::new"]}}
    assert found["seconds"] == {"a.py::t": 1.0, "b.py::new": 2.0}
