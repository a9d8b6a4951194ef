"""The page for those who bring a stack names what the code has, and nothing else."""

import re
from pathlib import Path
from typing import get_args

import pytest

import testbed
from testbed.cli.options import MECHANISMS
from testbed.model.contract import Event, FailureClass, Mode
from testbed.model.peer_check import Rule, Scene
from testbed.report.peer_check import page
from testbed.stacks.registry import ADAPTERS

PAGE = Path(testbed.__file__).parent / "stacks" / "README.md"
OF_PUBLIC_NODES = {"ready", "verdicts"}  # described at `Role` in the contract


def first_column(title: str) -> list[str]:
    """The names in the first column of the table whose head begins with ``title``."""
    rows = PAGE.read_text(encoding="utf-8").split(f"| {title} |")[1].split("\n\n")[0]
    cells = [line.split("|")[1] for line in rows.splitlines()[2:]]
    return [name for cell in cells for name in re.findall(r"`([a-z_0-9]+)`", cell)]


@pytest.mark.parametrize(
    ("title", "known"),
    [
        ("rule", list(Rule)),
        ("scene", list(Scene)),
        ("mode", list(Mode)),
        ("`failure`", list(FailureClass)),
        ("event", [kind.model_fields["event"].default for kind in get_args(Event)]),
        ("mechanism", [one.mechanism for one in ADAPTERS.values()]),
    ],
)
def test_each_table_has_every_name_once(title: str, known: list[str]) -> None:
    told = first_column(title)
    assert len(told) == len(set(told))
    assert set(told) == {str(name) for name in known} - OF_PUBLIC_NODES


def test_the_page_that_a_check_names_is_there() -> None:
    assert page().resolve() == PAGE.resolve()
    assert page().is_file()


def test_the_option_names_every_mechanism() -> None:
    assert set(MECHANISMS) == {one.mechanism for one in ADAPTERS.values()}
