"""Wherever a world's name goes, a file of the user's goes, too: each command reads it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer

from testbed.cli import app
from testbed.errors import TopologyError

ROOT = Path(__file__).parents[2]
BROKEN = 'title = "a"\nsource = "none"\n\n[hosts.ann]\nnetwork = "nowhere"\n'
# What a command is called with; the file's name stands for the world's.
COMMANDS = {
    "plan": ("plan", "FILE"),
    "up": ("up", "FILE"),
    "run": ("run", "--topology", "FILE"),
    "matrix": ("matrix", "--topology", "FILE"),
    "mesh": ("mesh", "FILE"),
    "autonat": ("autonat", "--topology", "FILE"),
    "life": ("life", "--topology", "FILE"),
    "relays": ("relays", "--topology", "FILE"),
    "compose render": ("compose", "render", "FILE"),
    "world show": ("world", "show", "FILE"),
    "world check": ("world", "check", "FILE"),
}


def called(words: Sequence[str], file: Path) -> None:
    app(args=[word.replace("FILE", str(file)) for word in words], standalone_mode=False)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_takes_a_world_reads_the_file_that_is_named(
    command: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(BROKEN)
    with pytest.raises(TopologyError, match=r"mine\.toml:4: hosts\.ann: unknown network 'nowhere'"):
        called(COMMANDS[command], file)


def test_no_command_that_takes_a_world_is_left_out() -> None:
    taking = {name for name, help_ in _options() if "world" in help_ and "file" in help_}
    assert taking <= {*COMMANDS, "kubernetes"}
    assert taking >= {"plan", "up", "run", "matrix", "mesh", "autonat", "life", "compose render"}


def _options() -> Iterator[tuple[str, str]]:
    """Each command with the help of each of its options, in lower case."""
    groups: list[tuple[str, Any]] = [("", typer.main.get_command(app))]
    while groups:
        path, group = groups.pop()
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                groups.append((f"{path}{name} ", command))
            else:
                yield from (
                    (f"{path}{name}", str(p.help or "").lower())
                    for p in command.params
                    if hasattr(p, "help")
                )


def test_a_workflow_takes_a_world_of_its_caller() -> None:
    text = (ROOT / ".github/workflows/matrix.yml").read_text(encoding="utf-8")
    assert "      topology:\n        description: A world" in text
    assert 'own+=(--topology "$TOPOLOGY")' in text
    assert "TOPOLOGY: ${{ inputs.topology }}" in text
