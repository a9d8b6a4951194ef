"""A cell's folder: what is read back, and what is refused by file and field."""

import json
import re
import shutil
from pathlib import Path

import pytest

from testbed.cell import Cell, load_cell, save_cell
from testbed.errors import UsageError
from testbed.nat.load import find


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a cell, written without running it."""
    folder = tmp_path_factory.mktemp("cell")
    cell = Cell("punch-udp", ("full-cone", "symmetric"))
    profiles = {name: find(name) for name in cell.profiles}
    save_cell(cell, profiles, folder, 0, {})
    return folder


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "bogus"),
        ("mode", None),
        ("seed", "x"),
        ("seed", -1),
        ("seed", True),
        ("skew_ms", "x"),
        ("skew_ms", float("nan")),
        ("peer", 3),
        ("profiles", "full-cone"),
        ("profiles", [1, 2]),
        ("topology", {}),
        ("repeat", 1.5),
    ],
)
def test_a_cell_that_was_tampered_with_is_refused_by_file_and_field(
    recorded: Path, tmp_path: Path, field: str, value: object
) -> None:
    shutil.copytree(recorded, tmp_path / "cell")
    file = tmp_path / "cell" / "cell.json"
    data = json.loads(file.read_text())
    data["cell"][field] = value
    file.write_text(json.dumps(data))
    with pytest.raises(UsageError, match=rf"cell\.json: {field} must be"):
        load_cell(tmp_path / "cell")


@pytest.mark.parametrize("number", ["x", 256, -1, None, float("inf")])
def test_a_labs_number_that_cannot_be_is_refused(
    recorded: Path, tmp_path: Path, number: object
) -> None:
    shutil.copytree(recorded, tmp_path / "cell")
    file = tmp_path / "cell" / "cell.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"number": number}))
    with pytest.raises(UsageError, match=r"cell\.json: number must be"):
        load_cell(tmp_path / "cell")


def test_a_profile_that_was_taken_from_a_cells_folder_is_named(
    recorded: Path, tmp_path: Path
) -> None:
    shutil.copytree(recorded, tmp_path / "cell")
    gone = tmp_path / "cell" / "profiles" / "symmetric.toml"
    gone.unlink()
    with pytest.raises(UsageError, match=re.escape(str(gone))):
        load_cell(tmp_path / "cell")


def test_a_cell_comes_back_as_it_was_saved(recorded: Path) -> None:
    cell, profiles, number = load_cell(recorded)
    assert cell == Cell("punch-udp", ("full-cone", "symmetric"))
    assert {name: one.behaviour for name, one in profiles.items()} == {
        name: find(name).behaviour for name in cell.profiles
    }
    assert number == 0
