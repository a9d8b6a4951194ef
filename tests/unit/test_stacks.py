"""Cells with two stacks, and stacks that are programs which may not have been built."""

import os
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from testbed.errors import UnfitError, UsageError
from testbed.model.lab import Capability
from testbed.nat.load import find
from testbed.run import matrix
from testbed.stacks.programs import VARIABLE, Program
from testbed.stacks.registry import ADAPTERS, Adapter, adapter, compatible, registry, stacks
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import prediction
from testbed.studies.punch.folder import load_cell, save_cell
from testbed.studies.punch.selection import DEFAULT_PEERS, Selection, chosen_stacks
from testbed.studies.punch.sound import require_sane

ICE = ("ice", "libnice", "pion")


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which every program was built."""
    for program in (one.entry for one in ADAPTERS.values()):
        if isinstance(program, Program):
            file = tmp_path / program.name / program.name
            file.parent.mkdir(exist_ok=True)  # several stacks may share a program
            file.write_text(f"#!/bin/sh\necho {program.name} 1.0\n")
            file.chmod(0o755)
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


def test_one_name_is_both_ends_and_two_are_dialer_and_listener() -> None:
    assert [one.name for one in stacks("ice").both] == ["ice", "ice"]
    mixed = stacks("ice+pion")
    assert (mixed.dialer.name, mixed.listener.name) == ("ice", "pion")
    assert mixed.name == "ice+pion"
    assert stacks("ice+ice").name == "ice"


@pytest.mark.parametrize(("a", "b"), list(product(ADAPTERS, ADAPTERS)))
def test_stacks_meet_only_where_they_speak_the_same(a: str, b: str) -> None:
    if compatible(adapter(a), adapter(b)):
        ends = stacks(f"{a}+{b}")
        assert ends.mechanism == ends.listener.mechanism
        assert ends.needs >= adapter(b).needs
    else:
        with pytest.raises(UsageError, match="do not understand each other"):
            stacks(f"{a}+{b}")


@pytest.mark.parametrize("name", ["", "+", "ice+", "ice+pion+ice", "ice+nobody", "ICE"])
def test_what_names_no_stacks_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        stacks(name)


@pytest.mark.parametrize("name", ["a+b", "a/b"])
def test_no_stack_has_a_name_that_would_read_as_two_or_as_a_folder(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        registry([replace(adapter("ice"), name=name)])


def test_a_mixed_cell_is_named_by_both_ends_and_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    cell = Cell("ice+pion", ("full-cone", "symmetric"))
    require_sane(cell)
    assert cell.pair == "ice+pion/full-cone--symmetric"
    save_cell(cell, {name: find(name) for name in cell.profiles}, tmp_path, 0, {})
    assert load_cell(tmp_path)[0] == cell


def test_the_ends_of_a_mixed_cell_are_predicted_by_their_mechanism() -> None:
    profiles = {name: find(name) for name in ("full-cone", "symmetric")}
    one, other = (prediction(Cell(peer, tuple(profiles)), profiles) for peer in ("ice", "ice+pion"))
    assert one.outcome is other.outcome


def test_all_pairs_are_all_ordered_pairs_that_understand_each_other() -> None:
    names, left_out = chosen_stacks("ice,libnice,pion,punch-udp", mixed=True)
    wanted = {a if a == b else f"{a}+{b}" for a, b in product(ICE, ICE)} | {"punch-udp"}
    assert (set(names), len(names), left_out) == (wanted, 10, [])


def test_by_default_each_stack_meets_itself() -> None:
    assert chosen_stacks("default", mixed=False) == (list(DEFAULT_PEERS), [])
    assert chosen_stacks("ice+ice,ice,ice+pion", mixed=False) == (["ice", "ice+pion"], [])


def test_a_matrix_in_another_topology_says_so_in_its_names() -> None:
    chosen = Selection(["full-cone"], ["symmetric"], ["ice+pion"], controls=False)
    (cell,) = replace(chosen, topologies=["carrier"]).cells()
    assert cell.pair == "carrier/ice+pion/full-cone--symmetric"


def test_a_named_stack_that_is_not_built_is_an_error_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    for name in ("pion", "ice+pion", "pion+ice"):
        with pytest.raises(UnfitError, match=r"pion is not built(.|\n)*testbed build peers"):
            stacks(name).prepare()


def test_all_leaves_out_loudly_what_is_not_built(built: Path) -> None:
    assert chosen_stacks("all", mixed=False) == (list(ADAPTERS), [])
    (built / "pion" / "pion").chmod(0o644)  # there, but nothing that runs
    names, left_out = chosen_stacks("all", mixed=True)
    assert not any("pion" in name for name in names)
    assert "libnice+ice" in names
    (words,) = left_out
    assert "pion is left out" in words
    assert "testbed build peers" in words


def test_libp2p_names_the_current_release_of_each_stack(built: Path) -> None:
    names, left_out = chosen_stacks("libp2p", mixed=False)
    assert {"traversal-tcp", "go-quic", "rust-tcp", "js-tcp", "py-quic"} <= set(names)
    assert not any("-v" in name or name.startswith(("ladder", "punch", "ice")) for name in names)
    assert left_out == []
    (built / "js-libp2p" / "js-libp2p").unlink()
    assert "js-tcp is left out" in chosen_stacks("libp2p", mixed=False)[1][0]


def test_stacks_that_differ_may_meet_behind_other_nats_than_a_stack_and_itself() -> None:
    peers, _ = chosen_stacks("go-tcp,rust-tcp", mixed=True)
    wide, narrow = ["full-cone", "symmetric"], ["symmetric"]
    cells = Selection(wide, wide, peers, strangers=narrow).cells()
    met = {cell.pair for cell in cells if not cell.control}
    itself = {f"go-tcp/{a}--{b}" for a in wide for b in wide}
    assert {pair for pair in met if pair.startswith("go-tcp/")} == itself
    assert {pair for pair in met if pair.startswith("go-tcp+")} == {
        "go-tcp+rust-tcp/symmetric--symmetric"
    }


def test_a_program_is_started_by_its_absolute_path(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(built.parent)
    monkeypatch.setenv(VARIABLE, os.path.relpath(built))
    assert adapter("pion").command() == (str(built / "pion" / "pion"),)


def test_a_program_says_its_version_or_is_absent(built: Path) -> None:
    program = Program("pion", "Go")
    assert program.version() == "pion 1.0"
    (built / "pion" / "pion").write_text("#!/bin/sh\nexit 1\n")
    assert program.version() == "absent"
    assert Program("nobody", "nothing").version() == "absent"


def test_a_function_is_a_stack_that_is_always_there() -> None:
    one = Adapter("x", "ice", "udp", int, lambda: None)
    assert one.command() is int


def test_a_matrix_asks_for_every_program_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    cells = [Cell("ice+pion", ("full-cone", "full-cone"))]
    with pytest.raises(UnfitError, match="pion is not built"):
        matrix.run_matrix(
            cells,
            {},
            None,  # type: ignore[arg-type]  # never reached
            tmp_path,
            jobs=1,
            facts=None,
            progress=lambda *_: None,
        )


def test_a_stack_may_listen_at_the_low_port_that_a_world_gives_it() -> None:
    """Observers listen at 443 and 80, of whichever stack they are."""
    stack = ADAPTERS["punch-udp"]
    low, high = stack.confinement(443), stack.confinement(1024)
    assert low is not None
    assert high is not None
    assert Capability.NET_BIND_SERVICE in low.capabilities
    assert high.capabilities == stack.capabilities
