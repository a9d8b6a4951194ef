"""The terminal shows what strangers say, and takes no order from it."""

import ast
import io
from pathlib import Path

import pytest
from made_results import document, result
from rich.console import Console
from rich.table import Table
from rich.text import Text

import testbed
from testbed import cli
from testbed.cli.commands.running import Reporter
from testbed.errors import UsageError
from testbed.model.verdict import Judgement
from testbed.report.terminal import tell, terminal
from testbed.run.store import Journal

SAID = ["[/x]", "[red]all is well[/red]", "[link=file:///etc/passwd]x[/link]", ":skull:"]


@pytest.mark.parametrize("said", SAID)
def test_words_in_brackets_are_shown_as_they_are(said: str) -> None:
    console = terminal(file=io.StringIO(), width=200, force_terminal=True)
    table = Table()
    table.add_column(said)
    table.add_row(said)
    with console.capture() as shown:
        console.print(said, highlight=False)
        console.print(table)
    assert shown.get().count(said) == 3


@pytest.mark.parametrize("said", SAID)
def test_a_peers_reason_in_brackets_breaks_no_run(said: str, tmp_path: Path) -> None:
    row = result(judgement=Judgement.FAIL, reason=f"peer [a]: {said}")
    console = terminal(file=io.StringIO(), width=200)
    journal = Journal(tmp_path, document([]))
    with console.capture() as shown, Reporter(console, 1, journal) as reporter:
        reporter.report(row, 1, 1)
    assert said in shown.get()


def test_there_is_no_other_console() -> None:
    own = Path(testbed.__file__).parent
    made = [
        str(path.relative_to(own))
        for path in own.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id == Console.__name__
    ]
    assert made == ["report/terminal.py"]


def test_an_error_that_cites_a_stranger_gives_no_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._failed(UsageError("no file a\n::error::b\x1b[2J")) == 2
    assert cli._failed(ValueError("c\n::error::d\x1b[2J")) == 3
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert not [line for line in said.splitlines() if line.lstrip().startswith("::")]


ORDERS = ["\x1b[2J", "a\x9b31mb", "::error::x", "x\n  ::error::y", "##[error]z", "\u202egnp.exe"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", ["plain", "text", "table"])
def test_no_word_is_an_order(order: str, shape: str) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_row(order)
    shown = {"plain": order, "text": Text(order, style="red"), "table": table}[shape]
    file = io.StringIO()
    terminal(file=file, width=60).print(shown)
    assert all(one.isprintable() for one in file.getvalue().replace("\n", ""))
    lines = file.getvalue().splitlines()
    assert not [line for line in lines if line.lstrip().startswith("::") or "##[" in line]


def test_what_the_testbed_says_of_a_file_gives_no_order(capsys: pytest.CaptureFixture[str]) -> None:
    tell("out\n::error::x/\x1b[2J")
    assert capsys.readouterr().out == "out\n?:error::x/?[2J\n"


def test_colours_and_links_stay() -> None:
    file = io.StringIO()
    terminal(file=file, width=60, force_terminal=True, color_system="standard").print(
        Text("red", style="red")
    )
    assert file.getvalue() == "\x1b[31mred\x1b[0m\n"
