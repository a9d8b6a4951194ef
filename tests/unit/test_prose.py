"""Help that teaches: paragraphs fit the terminal, and a command's own options come first."""

import typer
from typer.main import get_command

from testbed.cli.cells import app
from testbed.cli.prose import flowing


def documented() -> None:
    """One line.

    A paragraph that is
    broken.  Twice.

    testbed run          an example
    testbed run --peer   another
    """


def test_paragraphs_flow_and_examples_stay() -> None:
    assert flowing(documented) == (
        "One line.\n\nA paragraph that is broken. Twice.\n\n"
        "testbed run          an example\ntestbed run --peer   another"
    )
    assert flowing(lambda: None) is None


def test_what_is_a_commands_own_is_shown_before_what_it_shares() -> None:
    commands = get_command(app)
    assert isinstance(commands, typer.core.TyperGroup)
    first = {name: commands.commands[name].params[0].name for name in ("run", "matrix", "mesh")}
    assert first == {"run": "peer", "matrix": "out", "mesh": "out"}
    names = [param.name for param in commands.commands["matrix"].params]
    assert names.index("profiles") < names.index("delay")
