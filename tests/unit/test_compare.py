"""Comparing two records of a matrix: what counts, what is chance, what is damaged."""

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_results import document_json, record

from testbed.cli.commands.compare import compared, keep
from testbed.errors import TestbedError, UsageError
from testbed.report.compare import Comparison, Kind, compare
from testbed.report.golden import UnsettledError, golden
from testbed.report.recorded import read

Row = dict[str, Any]
PAIR = "ice/full-cone--symmetric"
CLOSED = {"cause": "filter_closed", "node": "nat-b", "headline": "...", "wrong": "nobody"}


def row(pair: str = PAIR, repeat: int = 0, **changes: Any) -> Row:
    made: Row = record(pair, repeat, **{"explanation": CLOSED, **changes})
    return made


def failed(pair: str = PAIR, repeat: int = 0, **changes: Any) -> Row:
    fields = {"judgement": "fail", "measured": "none", "connect_ms": None}
    return row(pair, repeat, **fields | changes)


def lost(pair: str = PAIR, repeat: int = 0) -> Row:
    return row(pair, repeat, judgement="inconclusive", measured=None, reason="the disk was full")


def several(good: int, bad: int = 0) -> list[Row]:
    rows = [row(repeat=n) for n in range(good)]
    return rows + [failed(repeat=good + n) for n in range(bad)]


def timed(times: Sequence[float], pair: str = PAIR) -> list[Row]:
    return [row(pair, n, connect_ms=ms) for n, ms in enumerate(times)]


def written(path: Path, rows: Sequence[Row], **facts: str) -> Path:
    path.write_text(json.dumps(document_json(rows, facts)))
    return path


def between(
    folder: Path, old: Sequence[Row], new: Sequence[Row], factor: float | None = None
) -> Comparison:
    before, after = written(folder / "old.json", old), written(folder / "new.json", new)
    return compare(read(before), read(after), factor=factor)


def kinds(found: Comparison) -> list[Kind]:
    return [difference.kind for difference in found.differences]


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    rows = [row(), failed("punch-udp/pf--pf"), *timed([40, 41], "ice/pf--pf")]
    found = between(tmp_path, rows, rows)
    assert (found.differences, found.delays, found.compared, int(found.exit_code)) == ((), (), 3, 0)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        (row(), failed(), Kind.WORSE),
        (failed(), row(), Kind.BETTER),
        (row(), row(measured="relayed", predicted="relayed"), Kind.WORSE),
        (row(measured="none", predicted="none"), row(), Kind.BETTER),
        (failed(), failed(measured="relayed"), Kind.BETTER),  # still wrong, but through
        (row(), row(explanation=CLOSED | {"cause": "hairpinned"}), Kind.CHANGED),
        (row(), row(explanation=CLOSED | {"node": "nat-a"}), Kind.CHANGED),
        (row(), row(explanation=None), Kind.CHANGED),
        (failed(), failed(predicted="relayed"), Kind.CHANGED),
    ],
)
def test_whatever_differs_is_named_and_fails(
    old: Row, new: Row, kind: Kind, tmp_path: Path
) -> None:
    found = between(tmp_path, [old], [new])
    assert (kinds(found), int(found.exit_code)) == ([kind], 1)


def test_a_control_that_gets_through_is_no_improvement(tmp_path: Path) -> None:
    pair = "punch-udp/pf--pf.plain_dial"
    closed = row(pair, measured="none", predicted="none")
    assert kinds(between(tmp_path, [closed], [row(pair, predicted="none", judgement="fail")])) == [
        Kind.WORSE
    ]
    assert kinds(between(tmp_path, [closed], [row(pair)])) == [Kind.CHANGED]


def test_more_direct_ones_do_not_make_up_for_those_that_got_through_no_more(tmp_path: Path) -> None:
    relayed = [failed(repeat=n, measured="relayed") for n in range(10)]
    torn = [failed(repeat=n, measured="direct" if n % 2 else "none") for n in range(10)]
    assert kinds(between(tmp_path, relayed, torn)) == [Kind.WORSE]
    assert kinds(between(tmp_path, torn, relayed)) == [Kind.WORSE]  # fewer go direct


@pytest.mark.parametrize(
    ("old", "new", "kind", "code"),
    [
        (several(5), several(4, 1), Kind.CHANCE, 0),
        (several(4, 1), several(5), Kind.CHANCE, 0),
        (several(5), several(1, 4), Kind.WORSE, 1),
        (several(1, 9), several(9, 1), Kind.BETTER, 1),
        (several(1), several(0, 1), Kind.WORSE, 1),
    ],
)
def test_four_of_five_is_not_called_a_change_of_five_of_five(
    old: list[Row], new: list[Row], kind: Kind, code: int, tmp_path: Path
) -> None:
    found = between(tmp_path, old, new)
    assert (kinds(found), int(found.exit_code)) == ([kind], code)


def test_the_rates_of_both_sides_are_told_with_their_bounds(tmp_path: Path) -> None:
    found = between(tmp_path, several(5), several(1, 4)).to_json()["differences"][0]
    assert found["measured"]["old"]["direct"] == {"count": 5, "of": 5, "bounds": [0.5655, 1.0]}
    assert found["measured"]["new"]["none"] == {"count": 4, "of": 5, "bounds": [0.3755, 0.9638]}
    assert found["folder"] == f"out/{PAIR}/1"  # the first that failed


def test_a_pair_of_one_side_only_is_a_difference(tmp_path: Path) -> None:
    gone, added = row("ice/pf--pf"), row("ice/aws--aws")
    found = between(tmp_path, [row(), gone], [row(), added])
    assert [(d.pair, d.kind) for d in found.differences] == [
        ("ice/pf--pf", Kind.GONE),
        ("ice/aws--aws", Kind.ADDED),
    ]
    assert int(found.exit_code) == 1


def test_what_gets_worse_is_told_first(tmp_path: Path) -> None:
    names = ["ice/a--b", "ice/c--d"]
    found = between(tmp_path, [failed(names[0]), row(names[1])], [row(names[0]), failed(names[1])])
    assert kinds(found) == [Kind.WORSE, Kind.BETTER]


@pytest.mark.parametrize("rows", [([lost()], [row()]), ([row()], [lost()]), ([lost()], [lost()])])
def test_what_was_inconclusive_on_either_side_was_not_compared(
    rows: tuple[list[Row], list[Row]], tmp_path: Path
) -> None:
    found = between(tmp_path, *rows)
    assert (found.compared, int(found.exit_code)) == (0, 3)
    assert "1 of 1 inconclusive: the disk was full" in found.unclear[PAIR]


def test_a_difference_outweighs_what_is_inconclusive(tmp_path: Path) -> None:
    other = "ice/pf--pf"
    found = between(tmp_path, [row(), row(other)], [failed(), lost(other)])
    assert int(found.exit_code) == 1
    partly = between(tmp_path, several(3), [*several(2), lost(repeat=2)])
    assert (partly.compared, partly.differences, int(partly.exit_code)) == (1, (), 3)


def test_explanations_that_were_not_recorded_are_no_other_cause(tmp_path: Path) -> None:
    before = row()
    del before["explanation"]
    assert between(tmp_path, [before], [row()]).differences == ()


def test_where_both_sides_opened_it_is_a_race_which_was_second(tmp_path: Path) -> None:
    one, other = (
        row(explanation=CLOSED | {"cause": "both_opened", "node": n}) for n in ("nat-a", "nat-b")
    )
    assert between(tmp_path, [one], [other]).differences == ()
    assert '"cause": "both_opened"}' in golden(read(tmp_path / "old.json"))[0]


def test_whether_a_hole_was_there_by_then_is_a_race_where_the_filter_asks_for_none(
    tmp_path: Path,
) -> None:
    causes = ("both_opened", "filter_admits", "reachable")
    one, other, another = (row(explanation=CLOSED | {"cause": c, "node": "nat-a"}) for c in causes)
    assert between(tmp_path, [one], [other]).differences == ()
    (difference,) = between(tmp_path, [other], [another]).differences
    assert str(difference.aspects[0]) == "both_opened or filter_admits -> reachable at nat-a"


def test_a_prediction_that_changed_is_told_beside_the_judgement(tmp_path: Path) -> None:
    (difference,) = between(
        tmp_path, [row()], [row(judgement="fail", predicted="none")]
    ).differences
    assert [(a.name, str(a)) for a in difference.aspects] == [
        ("judgement", "pass -> fail"),
        ("predicted", "direct -> none"),
    ]


SLOW, FAST = [200.0, 210.0, 190.0, 205.0], [40.0, 44.0, 42.0, 41.0]


def test_a_slower_pair_is_told_and_fails_only_when_times_are_asked_for(tmp_path: Path) -> None:
    told = between(tmp_path, timed(FAST), timed(SLOW))
    assert [delay.of for delay in told.delays] == [PAIR]
    assert int(told.exit_code) == 0
    assert int(between(tmp_path, timed(FAST), timed(SLOW), factor=1.5).exit_code) == 1
    assert int(between(tmp_path, timed(SLOW), timed(FAST), factor=1.5).exit_code) == 0
    assert between(tmp_path, timed(FAST), timed(SLOW), factor=6).delays == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (FAST[:3], SLOW[:3]),  # as likely as not to mean anything
        ([40.0], [400.0]),
        ([1.0, 1.1, 1.2, 1.3], [5.0, 5.1, 5.2, 5.3]),  # a busy machine does that
        ([40.0, 300.0, 41.0, 290.0], [45.0, 310.0, 280.0, 290.0]),
    ],
)
def test_a_time_that_may_be_chance_is_not_told(
    old: list[float], new: list[float], tmp_path: Path
) -> None:
    assert between(tmp_path, timed(old), timed(new)).delays == ()


def test_a_stack_that_is_slower_everywhere_is_told_without_repetitions(tmp_path: Path) -> None:
    names = [f"ice/a--b{n}" for n in range(8)]
    old = [row(name, connect_ms=40.0 + n) for n, name in enumerate(names)]
    slower = [row(name, connect_ms=120.0 + n) for n, name in enumerate(names)]
    assert [d.of for d in between(tmp_path, old, slower).delays] == ["ice: 8 pairs"]
    mixed = [row(name, connect_ms=120.0 if n % 2 else 15.0) for n, name in enumerate(names)]
    assert between(tmp_path, old, mixed).delays == ()


def test_another_way_is_not_called_another_time(tmp_path: Path) -> None:
    relayed = [r | {"measured": "relayed", "predicted": "relayed"} for r in timed(SLOW)]
    assert between(tmp_path, timed(FAST), relayed).delays == ()


def test_versions_that_differ_are_told(tmp_path: Path) -> None:
    old = written(tmp_path / "old.json", [row()], kernel="6.1", nft="1.0.6")
    new = written(tmp_path / "new.json", [row()], kernel="6.12", nft="1.0.6")
    found = compare(read(old), read(new))
    assert (dict(found.facts), int(found.exit_code)) == ({"kernel": ("6.1", "6.12")}, 0)


def test_nothing_in_common_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pair in common"):
        between(tmp_path, [row()], [row("ice/pf--pf")])
    with pytest.raises(UsageError, match="no pair in common"):
        between(tmp_path, [], [])


def test_only_the_selected_pairs_are_compared(tmp_path: Path) -> None:
    old = read(written(tmp_path / "old.json", [row(), row("ice/pf--pf")]))
    new = read(written(tmp_path / "new.json", [row(), failed("punch-udp/pf--pf")]))
    assert int(compare(old, new, select=["ice/full*"]).exit_code) == 0
    assert int(compare(old, new).exit_code) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"judgement": "fine"}, r"results\[1\]\.judgement: .*not 'fine'"),
        ({"measured": "somehow"}, r"results\[1\]: punch measures no 'somehow'"),
        ({"measured": None}, r"results\[1\]: pass without a measured"),
        ({"connect_ms": "soon"}, r"results\[1\]\.connect_ms"),
        ({"connect_ms": -1}, r"results\[1\]\.connect_ms"),
        ({"connect_ms": float("nan")}, r"results\[1\]\.connect_ms"),
        ({"name": f"{PAIR}/0"}, r"the whole: ice/full-cone--symmetric/0 is there twice"),
        ({"group": 7}, r"results\[1\]\.group: .*not 7"),
        ({"group": "ice"}, r"results\[1\]\.group"),
        ({"explanation": {"node": None}}, r"results\[1\]\.explanation\.cause: Field required"),
        ({"explanation": "hm"}, r"results\[1\]\.explanation"),
    ],
)
def test_a_damaged_row_is_refused_by_file_and_field(
    change: Row, words: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "broken.json", [row(), row(repeat=1) | change])
    with pytest.raises(UsageError, match=rf"broken\.json: {words}"):
        read(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "the whole: "),
        (b"{}", "format: Field required"),
        (b'{"format": 1, "facts": {}, "cells": []}', "format 1; this version reads format 2"),
        (b'{"format": 2, "facts": {}, "results": {}}', "run: Field required"),
        (b'{"format": 1, "pairs": {"ice/a--b": {}}}', r"pairs\.ice/a--b\.measured"),
        (b'{"format": 1, "pairs": {"x": {"measured": "none"}}}', r"pairs\.x"),
        (b'{"format": 1, "pairs": {"i/a": {"measured": "none", "rate": 1}}}', r"pairs\.i/a\.rate"),
    ],
)
def test_a_damaged_file_is_refused_by_name_and_field(
    text: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "broken.json"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=rf"broken\.json: {words}"):
        read(path)


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_no_bytes_give_anything_but_a_usage_error(text: bytes) -> None:
    with NamedTemporaryFile() as file:
        Path(file.name).write_bytes(text)
        with pytest.raises(UsageError):
            read(Path(file.name))


def test_a_folder_stands_for_its_results(tmp_path: Path) -> None:
    written(tmp_path / "results.json", [row()])
    assert read(tmp_path).pairs.keys() == {PAIR}
    with pytest.raises(UsageError, match=r"nowhere"):
        read(tmp_path / "nowhere")


def test_a_golden_file_holds_a_line_a_pair_and_agrees_with_what_it_was_made_of(
    tmp_path: Path,
) -> None:
    rows = [row(), row(repeat=1), failed("ice/b--b"), row("ice/a--a", explanation=None)]
    results = read(written(tmp_path / "results.json", rows))
    text, remarks = golden(results)
    assert text.splitlines()[1:-1] == [
        '"ice/a--a": {"measured": "direct"},',
        '"ice/b--b": {"measured": "none", "predicted": "direct", "judgement": "fail", '
        '"cause": "filter_closed", "node": "nat-b"},',
        f'"{PAIR}": {{"measured": "direct", "cause": "filter_closed", "node": "nat-b"}}',
    ]
    assert remarks == ["kept as failing: ice/b--b", "not explained: ice/a--a"]
    (tmp_path / "golden.json").write_text(text)
    kept = read(tmp_path / "golden.json")
    assert int(compare(kept, results).exit_code) == 0
    assert golden(kept)[0] == text
    rows[2] |= {"judgement": "pass", "predicted": "none"}
    better = read(written(tmp_path / "results.json", rows))
    assert kinds(compare(kept, better)) == [Kind.BETTER]


def test_new_results_replace_lines_of_a_golden_file_and_leave_the_rest(tmp_path: Path) -> None:
    kept = tmp_path / "golden.json"
    assert keep([written(tmp_path / "old.json", [row("ice/a--a"), row("ice/b--b")])], kept) == 0
    again = written(tmp_path / "new.json", [failed("ice/b--b"), row("ice/c--c")])
    assert keep([kept, again], kept) == 0
    ends = {name: pair.runs[0].measured for name, pair in read(kept).pairs.items()}
    assert ends == {"ice/a--a": "direct", "ice/b--b": "none", "ice/c--c": "direct"}


def test_a_golden_file_holds_no_cause_that_differs_between_repetitions(tmp_path: Path) -> None:
    rows = [row(), row(repeat=1, explanation=CLOSED | {"node": "nat-a"})]
    results = read(written(tmp_path / "results.json", rows))
    text, remarks = golden(results)
    assert '{"measured": "direct"}' in text
    assert remarks == [f"kept without a cause, for it differs between repetitions: {PAIR}"]


@pytest.mark.parametrize("rows", [[lost()], several(1, 1), [row(), lost(repeat=1)]])
def test_what_is_not_settled_is_not_kept_as_golden(rows: list[Row], tmp_path: Path) -> None:
    with pytest.raises(UnsettledError, match=PAIR) as refused:
        keep([written(tmp_path / "results.json", rows)], tmp_path / "golden.json")
    assert int(refused.value.exit_code) == 3
    assert isinstance(refused.value, TestbedError)
    assert not (tmp_path / "golden.json").exists()


def test_what_changed_alike_is_one_group_with_the_command_that_explains_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"ice/a--b{n}" for n in range(7)]
    old = written(tmp_path / "old.json", [row(name) for name in names])
    new = written(tmp_path / "new.json", [failed(name) for name in names])
    monkeypatch.chdir(tmp_path)
    assert compared(old, new, (), None, as_json=False) == 1
    assert "testbed explain" not in capsys.readouterr().out  # no packets, nothing to explain
    Path("out/ice/a--b0/0").mkdir(parents=True)
    assert compared(old, new, (), None, as_json=False) == 1
    assert capsys.readouterr().out.splitlines() == [
        "worse: 7",
        "  7 x judgement pass -> fail; measured direct -> none",
        "      ice/a--b0, ice/a--b1, ice/a--b2, ice/a--b3, and 3 more",
        "      testbed explain out/ice/a--b0/0",
        "7 pairs compared, 7 differ",
    ]
    assert compared(old, new, (), None, as_json=True) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["exit_code"], said["counts"]["worse"], len(said["differences"])) == (1, 7, 7)


@pytest.mark.parametrize("factor", [1.0, 0.5, -2.0, float("inf"), float("nan")])
def test_a_factor_that_is_none_is_refused(factor: float, tmp_path: Path) -> None:
    path = written(tmp_path / "results.json", [row()])
    with pytest.raises(UsageError, match="--times"):
        compared(path, path, (), factor, as_json=False)


def test_the_folder_that_is_named_is_there_from_where_the_results_are_read(tmp_path: Path) -> None:
    """The matrix was called elsewhere, and wrote where that is."""
    bad = failed()
    folder = tmp_path / "moved"
    there = folder / "cells" / bad["name"]
    there.mkdir(parents=True)
    written(folder / "results.json", [bad])
    old = written(tmp_path / "old.json", [row()])
    (difference,) = compare(read(old), read(folder)).differences
    assert difference.folder == str(there)
