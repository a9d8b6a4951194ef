"""The matrix on a terminal: what differs says why, and how to look into it."""

import io
from typing import Any

import pytest
from made_results import result
from rich.console import Console

from testbed.model.result import Result, summarize
from testbed.report.grid import render

WHY = {
    "cause": "filter_closed",
    "node": "nat-b",
    "headline": "nobody behind nat-b had sent to nat-a",
    "wrong": "nat",
}


def row(**changes: Any) -> Result:
    known = {
        "judgement": "fail",
        "measured": "none",
        "folder": "out/matrix/cells/ice/full-cone--symmetric/0",
        "explanation": WHY,
    }
    return result(**known | changes)


def shown(*rows: Result, width: int = 80) -> str:
    file = io.StringIO()
    console = Console(width=width, file=file)
    console.print(render(rows, summarize(rows), 1.0, width))
    return file.getvalue()


def test_a_red_cell_says_why_and_gives_the_command_that_shows_the_packets() -> None:
    text = shown(row())
    assert "filter_closed: nobody behind nat-b had sent to nat-a" in text
    assert "a NAT does not do as it declares" in text
    assert "testbed explain ice/full-cone--symmetric/0 " in text


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("out/matrix/cells/ice/full-cone--symmetric/0/try-3", "ice/full-cone--symmetric/0"),
        ("m/cells/ice/full-cone--symmetric/0", "ice/full-cone--symmetric/0 -o m"),
        ("my m/cells/ice/full-cone--symmetric/0", "ice/full-cone--symmetric/0 -o 'my m'"),
        ("some where", "'some where'"),
    ],
)
def test_the_command_finds_the_cell_wherever_the_matrix_is(folder: str, words: str) -> None:
    assert f"testbed explain {words} " in shown(row(folder=folder))


def test_the_longest_name_of_the_catalogue_is_not_broken_at_80_columns() -> None:
    name = "traversal-quic/port-restricted--port-restricted.relay_only/0"
    text = shown(row(name=name, folder=f"out/matrix/cells/{name}"))
    assert f"testbed explain {name} " in text


def test_a_cell_that_nothing_explains_gives_the_reason_and_the_command() -> None:
    text = shown(row(judgement="inconclusive", reason="the lab fell over", explanation=None))
    assert "the lab fell over" in text
    assert "testbed explain" in text


def test_a_green_matrix_explains_nothing() -> None:
    assert "testbed explain" not in shown(row(judgement="pass", measured="direct"))


def test_of_a_whole_catalogue_every_letter_is_shown_at_80_columns() -> None:
    names = [f"profile-{number:02}" for number in range(40)]
    passed = {"judgement": "pass", "measured": "direct"}
    text = shown(*(row(profiles=[a, b], **passed) for a in names for b in names))
    lines = [line for line in text.splitlines() if "profile-17" in line]
    assert sum(line.count(" D ") for line in lines) == 40
    assert max(map(len, text.splitlines())) <= 80


def test_a_world_that_takes_one_nat_has_one_column() -> None:
    labels = {"stack": "ice", "topology": "same-lan", "mode": "punch"}
    passed = {"judgement": "pass", "measured": "direct", "labels": labels}
    text = shown(*(row(profiles=[name], **passed) for name in ("full-cone", "symmetric")))
    lines = [line for line in text.splitlines() if "direct" in line]
    assert len(lines) == 2
    assert "same-lan" in text


def test_a_note_of_many_cells_is_told_once() -> None:
    said = "a's peer accepts no nonce"
    text = shown(row(notes=[said]), row(repeat=1, notes=[said]), row(repeat=2))
    assert text.count(said) == 1
