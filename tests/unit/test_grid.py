"""The matrix on a terminal: what differs says why, and how to look into it."""

import io

import pytest
from rich.console import Console

from testbed.matrix import Row, summarize
from testbed.report.grid import render


def row(**changes) -> Row:
    known = {
        "name": "ice/full-cone--symmetric/0",
        "pair": "ice/full-cone--symmetric",
        "peer": "ice",
        "profiles": ["full-cone", "symmetric"],
        "topology": "two-homes",
        "mode": "punch",
        "repeat": 0,
        "judgement": "fail",
        "measured": "none",
        "predicted": "direct",
        "reason": "measured none, predicted direct",
        "findings": [],
        "packets_cited": [],
        "seconds": 1.0,
        "folder": "out/matrix/cells/ice/full-cone--symmetric/0",
        "explanation": {
            "cause": "filter_closed",
            "node": "nat-b",
            "headline": "nobody behind nat-b had sent to nat-a",
            "wrong": "nat",
        },
    }
    return known | changes


def shown(*rows: Row, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(render(rows, summarize(rows), 1.0, width))
    return console.file.getvalue()


def test_a_red_cell_says_why_and_gives_the_command_that_shows_the_packets():
    text = shown(row())
    assert "filter_closed: nobody behind nat-b had sent to nat-a" in text
    assert "testbed explain out/matrix/cells/ice/full-cone--symmetric/0 " in text


def test_a_folder_with_a_space_is_quoted():
    assert "testbed explain 'my matrix/0' " in shown(row(folder="my matrix/0"))


@pytest.mark.parametrize("without", [{"explanation": None}, {}])
def test_a_cell_that_nothing_explains_gives_the_reason_and_the_command(without: dict):
    bare = row(judgement="inconclusive", reason="the lab fell over", **without)
    if not without:
        del bare["explanation"]
    text = shown(bare)
    assert "the lab fell over" in text
    assert "testbed explain" in text


def test_a_green_matrix_explains_nothing():
    assert "testbed explain" not in shown(row(judgement="pass", measured="direct"))
