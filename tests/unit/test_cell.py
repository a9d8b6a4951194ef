"""A cell's folder: what is read back, and what is refused by file and field."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from testbed.cli.cell_words import MatrixWords
from testbed.cli.commands.chosen import Request
from testbed.errors import UsageError
from testbed.model.fault import CaptureLost, Difference, Fault, FramesLost, LabDiffers
from testbed.model.outcome import Outcome
from testbed.model.prediction import Prediction
from testbed.model.presets import PRESETS
from testbed.model.reason import Lost, Silence
from testbed.nat.load import find
from testbed.run.judging import worth_another
from testbed.stacks.registry import ADAPTERS, Adapter, public, stacks
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.folder import load_cell, save_cell
from testbed.studies.punch.mechanisms import of
from testbed.studies.punch.selection import Selection
from testbed.studies.punch.sound import require_sane
from testbed.verdict.judge import inconclusive


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
        ("relay", 3),
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


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (Cell("go-tcp", (), mode="plain_dial"), "no mode 'plain_dial'\n.*: punch, relay_only"),
        (Cell("ice", (), mode="silent"), "no mode 'silent'\n.*: punch, relay_only"),
        (Cell("punch-udp", (), mode="relay_only"), "one of: punch, plain_dial, silent"),
        (Cell("ice", (), mode="punsh"), "did you mean punch?"),
        (Cell("ice", (), relay="go"), "ice uses no libp2p relay: 'go' has no effect"),
        (Cell("traversal-tcp", (), relay="ladder"), "ladder is no relay over TCP\n.*: traversal"),
        (Cell("traversal-tcp", (), "two-hoems"), "did you mean two-homes?"),
    ],
)
def test_what_a_stack_cannot_do_is_refused_with_what_it_can(cell: Cell, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        require_sane(cell)


@pytest.mark.parametrize("name", ADAPTERS)
def test_each_control_of_a_stack_is_a_mode_that_it_can_be_run_in(name: str) -> None:
    for mode in (*of(stacks(name)).controls, "punch"):
        require_sane(Cell(name, (), mode=mode))


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


def test_a_cell_from_before_relays_could_be_chosen_has_ours(recorded: Path, tmp_path: Path) -> None:
    shutil.copytree(recorded, tmp_path / "cell")
    file = tmp_path / "cell" / "cell.json"
    data = json.loads(file.read_text())
    del data["cell"]["relay"]
    file.write_text(json.dumps(data))
    assert load_cell(tmp_path / "cell")[0].relay == "traversal"


def test_a_cell_is_named_after_its_relay_only_where_that_is_not_ours() -> None:
    ours = Cell("go-quic", ("full-cone", "symmetric"), "libp2p")
    assert ours.pair == "go-quic/full-cone--symmetric"
    assert replace(ours, relay="go").pair == "go-quic@go/full-cone--symmetric"
    assert replace(ours, relay="go").labels["stack"] == "go-quic@go"


def test_the_relay_is_the_stack_of_that_name_on_the_cells_transport() -> None:
    tcp = Cell("traversal-tcp", ("full-cone", "full-cone"), "libp2p", relay="go").relaying
    assert tcp is not None
    assert (tcp.name, tcp.transport) == ("go-tcp", "tcp")
    assert Cell("ice", ("full-cone", "full-cone")).relaying is None


def test_a_matrix_has_each_libp2p_cell_with_each_relay_and_others_once() -> None:
    chosen = Selection(
        ["full-cone"], ["full-cone"], ["ice", "traversal-quic"], relays=["traversal", "go"]
    )
    assert [cell.pair for cell in chosen.cells() if not cell.control] == [
        "ice/full-cone--full-cone",
        "traversal-quic/full-cone--full-cone",
        "traversal-quic@go/full-cone--full-cone",
    ]


def asked_for(topology: str, peers: str = "punch-udp", relays: str | None = None) -> list[Cell]:
    words = MatrixWords(
        profiles="full-cone", peers=peers, topology=topology, controls=False, relay=relays
    )
    return Request(words).cells()[0]


def test_a_matrix_takes_several_worlds() -> None:
    assert [cell.pair for cell in asked_for("two-homes,carrier,two-homes")] == [
        "punch-udp/full-cone--full-cone",
        "carrier/punch-udp/full-cone--full-cone",
    ]
    with pytest.raises(UsageError, match="unknown topology 'nowhere'"):
        asked_for("two-homes,nowhere")


def test_a_matrix_of_all_worlds_has_each_in_which_two_may_meet_and_names_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cells = asked_for("all")
    assert {cell.world.name for cell in cells} == set(PRESETS) - {"observers", "home-observers"}
    assert "left out: nobody in observers plays b" in capsys.readouterr().err


def test_what_one_stack_of_a_matrix_cannot_do_in_a_world_is_refused_or_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def told_nothing(name: str, transport: Literal["udp", "tcp"]) -> Adapter:
        found = public(name, transport)
        return replace(found, features=frozenset()) if name == "go" else found

    monkeypatch.setattr("testbed.studies.punch.cell.public", told_nothing)
    with pytest.raises(UsageError, match="go-tcp cannot be told"):
        asked_for("relay-behind-forward,two-homes", "go-tcp,traversal-tcp", "go,traversal")
    capsys.readouterr()
    found = asked_for("all", "go-tcp,traversal-tcp", "go,traversal")
    behind = {cell.cast for cell in found if cell.world.name == "relay-behind-forward"}
    assert behind == {"go-tcp", "traversal-tcp"}
    assert {cell.cast for cell in found} > behind
    assert capsys.readouterr().err.count("go-tcp cannot be told") == 3  # behind a CGN, and at home


def test_a_relay_that_nobody_knows_is_refused() -> None:
    chosen = Selection(["full-cone"], ["full-cone"], ["traversal-tcp"], relays=["pigeon"])
    with pytest.raises(UsageError, match="unknown relay 'pigeon'"):
        chosen.cells()


LOST = FramesLost("nat-a-core", "a_to_b", 3)
MISSED = CaptureLost("a:eth0", 9)
CHANGED = LabDiffers(Difference.RULES_CHANGED, "nat-a", "cheat")


@pytest.mark.parametrize(
    ("faults", "late", "again"),
    [
        ([LOST], False, True),
        ([LOST, MISSED], True, True),
        ([], True, True),
        ([], False, False),
        ([CHANGED], True, False),
        ([LOST, CHANGED], True, False),
    ],
)
def test_a_machine_that_lost_frames_or_was_late_and_did_nothing_else_is_worth_another_try(
    faults: list[Fault], late: bool, again: bool
) -> None:
    verdict = inconclusive(Prediction(Outcome.NONE, Lost((), Silence.NONE_REACHED), ()), *faults)
    assert worth_another(faults, late=late, verdict=verdict) is again
