"""Commands take whatever is in files of strangers; `make strangers` tries thousands."""

from pathlib import Path

import pytest
from strangers.commands import COMMANDS, Told, told, tried
from strangers.mutants import SECRET

from testbed import cli

NO_LAB = [name for name, one in COMMANDS.items() if not one.lab]


@pytest.mark.parametrize("first", range(0, 12, 4))
@pytest.mark.parametrize("name", NO_LAB)
def test_a_mutated_file_gives_a_documented_exit_code_and_no_orders(
    name: str, first: int, tmp_path: Path
) -> None:
    for seed in range(first, first + 4):
        assert tried(COMMANDS[name], tmp_path, seed) == ""


@pytest.mark.parametrize("name", NO_LAB)
def test_a_sound_folder_is_taken(name: str, tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "sound"
    secret.write_text(SECRET)
    folder.mkdir()
    COMMANDS[name].make(folder)
    found = told(COMMANDS[name], folder, secret)
    assert found.wrong == ""
    assert found.code in (0, 1, 3), found


CALLED = ["m\x1b[2J\n::error::owned", "::error::x", "[", "\u202egnp", "\b"]


@pytest.mark.parametrize("called", CALLED)
@pytest.mark.parametrize("name", NO_LAB)
def test_the_name_of_a_folder_gives_no_order(name: str, called: str, tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / called
    secret.write_text(SECRET)
    folder.mkdir()
    COMMANDS[name].make(folder)
    assert told(COMMANDS[name], folder, secret).wrong == ""


@pytest.mark.parametrize(
    "broken", ["raises", "waits", "prints", "orders", "shows", "writes", "code"]
)
def test_a_command_that_takes_it_badly_is_noticed(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)

    def app(_words: list[str], **_: object) -> int:
        match broken:
            case "raises":
                raise KeyError(broken)
            case "waits":
                Path("/proc/self/fd/0").stat()
                while True:
                    pass
            case "prints":
                print("\x1b[2J")
            case "orders":
                print("x\n::error::y")
            case "shows":
                print(secret.read_text())
            case "writes":
                secret.write_text("gone")
        return 7

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr("strangers.commands.SECONDS", 1)
    found: Told = told(COMMANDS["report"], tmp_path, secret)
    assert found.wrong
