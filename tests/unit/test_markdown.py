"""The Markdown summary, read back by a parser of CommonMark with GitHub's tables."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_results import RUN, document, result
from markdown_it import MarkdownIt

from testbed.model.result import Result
from testbed.report.files import printable
from testbed.report.markdown import LIMIT, escaped, summary

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
HOSTILE = "a|b `c` <script>alert(1)</script> [x](http://y) *z* _q_ ~~s~~ \\| &amp; $m$\n# n | **"


def row(
    dialer: str = "pf", listener: str = "aws", *, peer: str = "ice", repeat: int = 0, **more: Any
) -> Result:
    mode = more.pop("mode", "punch")
    suffix = "" if mode == "punch" else f".{mode}"
    group = f"{peer}/{dialer}--{listener}{suffix}"
    return result(group, repeat, **{"folder": "out/cell", **more})


def tables(text: str) -> list[list[list[str]]]:
    """The tables as lists of rows of cells, each cell as a reader sees it."""
    found: list[list[list[str]]] = []
    for token in PARSER.parse(text):
        match token.type:
            case "table_open":
                found.append([])
            case "tr_open":
                found[-1].append([])
            case "inline" if token.level >= 4 and found:
                found[-1][-1].append("".join(seen(token.children or [])))
    return found


def seen(tokens: list[Any]) -> Iterator[str]:
    for token in tokens:
        assert token.type in ("text", "text_special", "strong_open", "strong_close"), token
        yield token.content


def explained(cause: str, wrong: str = "nat", **more: str) -> dict[str, Any]:
    return {"cause": cause, "node": "nat-b", "headline": "It was closed.", "wrong": wrong, **more}


def test_a_grid_shows_who_got_through_and_what_differs() -> None:
    rows = [
        row("pf", "pf"),
        row("pf", "aws", measured="relayed", predicted="relayed"),
        row("aws", "pf", measured="none", judgement="fail"),
        row("aws", "aws", measured=None, judgement="inconclusive"),
    ]
    grid = tables(summary(document(rows)))[-1]
    assert grid == [
        ["dialer / listener", "1", "2"],
        ["1 pf", "D", "R"],
        ["2 aws", "- ≠ D", "?"],
    ]


def test_repetitions_show_as_rates() -> None:
    rows = [row(repeat=n) for n in range(4)] + [row(repeat=4, measured="none", judgement="fail")]
    assert tables(summary(document(rows)))[-1][1:] == [["1 aws", ""], ["2 pf", "- ≠ D 1/5"]]


def test_there_is_a_grid_for_each_stack() -> None:
    text = summary(document([row(peer="ice"), row(peer="punch-udp")]))
    assert [text.count(f"### {peer}: who got through") for peer in ("ice", "punch-udp")] == [1, 1]


def test_what_differs_comes_first_with_its_cause_side_and_folder() -> None:
    rows = [
        row("pf", "pf", judgement="inconclusive", measured=None, reason="disk full"),
        row(measured="none", judgement="fail", explanation=explained("filter_closed")),
    ]
    text = summary(document(rows))
    assert tables(text)[0][1:] == [
        [
            *("ice/pf--aws/0", "none", "direct", "It was closed."),
            *("filter_closed at nat-b", "nat", "out/cell"),
        ],
        ["ice/pf--pf/0", "?", "direct", "disk full", "?", "?", "out/cell"],
    ]
    assert text.startswith("## testbed matrix: 0 of 2 cells as predicted, 1 differ, 1 inconclusive")


def test_causes_are_counted_by_how_the_cell_ended() -> None:
    rows = [
        row(explanation=explained("both_opened")),
        row("pf", "pf", explanation=explained("both_opened")),
        row("aws", "pf", measured="relayed", explanation=explained("filter_closed")),
    ]
    assert tables(summary(document(rows)))[-1][1:] == [
        ["both_opened", "2", "2", "", ""],
        ["filter_closed", "1", "", "1", ""],
    ]


def test_controls_have_a_table_of_their_own() -> None:
    rows = [row(), row("pf", "pf", mode="silent", measured="none", predicted="none")]
    assert tables(summary(document(rows)))[-1][1:] == [["silent", "ice", "1 of 1", "0"]]


def test_hostile_words_stay_words() -> None:
    rows = [row(judgement="fail", reason=HOSTILE, findings=[HOSTILE], folder=HOSTILE)]
    shown = tables(summary(document(rows)))[0][1]
    once = " ".join(HOSTILE.split())
    assert shown[3] == f"{once}; {once}"
    assert shown[6] == once


def test_words_that_are_not_escaped_would_be_taken_for_markup() -> None:
    """The control of the test above: the parser that reads it back does know markup."""
    with pytest.raises(AssertionError):
        tables("| a |\n|---|\n| *z* |\n")
    assert tables("| a | b |\n|---|---|\n| x|y | z |\n")[0][1] == ["x", "y"]


@given(st.text(max_size=80))
def test_any_text_reads_back_from_a_table_as_it_was(text: str) -> None:
    (table,) = tables(f"| head | second |\n|---|---|\n| x{escaped(text)} | {escaped(text)}x |\n")
    line = " ".join(printable(text).split())
    assert [cell.strip() for cell in table[1]] == [f"x{line}".strip(), f"{line}x".strip()]


@given(st.text(max_size=80))
def test_any_text_reads_back_from_a_list_as_it_was(text: str) -> None:
    tokens = PARSER.parse(f"- mixed results: {escaped(text)}\n")
    (inline,) = (token for token in tokens if token.type == "inline")
    line = " ".join(printable(text).split())
    assert "".join(seen(inline.children or [])) == f"mixed results: {line}".strip()


def test_a_long_field_is_cut() -> None:
    assert escaped("x" * 1000, 10) == "x" * 9 + "…"


def test_a_page_is_never_longer_than_github_shows_and_says_what_it_leaves_out() -> None:
    names = [f"profile-{n}" for n in range(64)]
    rows = [
        row(a, b, judgement="fail", measured="none", reason="ü|" * 300)
        for a in names
        for b in names
    ]
    text = summary(document(rows))
    assert 0.9 * LIMIT < len(text.encode()) <= LIMIT < 1 << 20
    shown = len(tables(text)[0]) - 1
    assert f"**{4096 - shown} more of 4096 are not shown" in text
    assert "### ice: who got through" in text


@pytest.mark.parametrize("limit", [800, 2000, 4000])
def test_a_table_that_does_not_fit_is_left_out_loudly(limit: int) -> None:
    names = [f"profile-{n}" for n in range(40)]
    text = summary(document([row(a, b) for a in names for b in names]), limit)
    assert len(text.encode()) <= limit
    assert "**1 tables are not shown" in text
    assert "### ice" not in text


def test_a_run_without_a_cell_gives_a_page() -> None:
    assert summary(document([])).startswith("## testbed matrix: 0 of 0 cells as predicted")


def test_the_page_says_when_and_by_which_command_seed_and_version_it_was_run() -> None:
    text = summary(document([row()]))
    assert "- 2026-11-29 07:40:58 UTC, seed 7, testbed 0.2.0" in text.splitlines()
    assert "- testbed matrix --seed 7" in text.splitlines()
    bare = document([row()]).model_copy(update={"run": replace(RUN, command="x", seed=None)})
    assert "seed" not in summary(bare)
