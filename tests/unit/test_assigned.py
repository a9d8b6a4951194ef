"""Hosts are given stacks one by one, by words or in the world's file."""

from pathlib import Path

import pytest

from testbed.cli import app
from testbed.cli.cell_words import MatrixWords, RunWords
from testbed.cli.commands.chosen import Request, one_cell
from testbed.cli.commands.life import cases
from testbed.errors import TopologyError, UsageError
from testbed.model.presets import FOLDER, find
from testbed.nat.load import catalogue
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.folder import load_cell, save_cell


def single(*at: str, peer: str | None = None, topology: str | None = None) -> Cell:
    return one_cell(RunWords(peer=peer, topology=topology, at=list(at)))[0]


def many(*at: str, peers: str, relays: str | None = None) -> list[Cell]:
    words = MatrixWords(profiles="pf", peers=peers, controls=False, relay=relays, at=list(at))
    return Request(words).cells()[0]


def world(tmp_path: Path, roles: str) -> str:
    file = tmp_path / "mine.toml"
    file.write_text((FOLDER / "libp2p.toml").read_text() + roles)
    return str(file)


def test_each_end_and_the_relay_run_what_they_are_given() -> None:
    cell = single("a=go-quic", "b=rust-quic", "server=js")
    assert (cell.peer, cell.relay) == ("go-quic+rust-quic", "js")


def test_who_is_not_named_runs_what_the_other_does_or_what_peer_says() -> None:
    assert single("a=go-quic").peer == "go-quic"
    assert single("a=go-quic", peer="traversal-quic").peer == "go-quic+traversal-quic"
    assert single("b=pion", peer="ice").peer == "ice+pion"


def test_in_a_matrix_the_named_host_is_in_every_cell() -> None:
    found = many("a=pion", peers="ice,libnice")
    assert {cell.peer for cell in found} == {"pion+ice", "pion+libnice"}
    assert {cell.peer for cell in many("a=ice", "b=pion", peers="libnice")} == {"ice+pion"}
    found = many("server=go", peers="traversal-quic")
    assert {cell.relay for cell in found} == {"go"}


def test_in_a_life_each_end_may_have_another_stack() -> None:
    (case,) = cases(["reboot"], "traversal-quic", at={"b": "go-quic"})
    assert case.peer == "traversal-quic+go-quic"


def test_the_file_says_who_runs_what_and_a_word_wins(tmp_path: Path) -> None:
    mine = world(tmp_path, '\n[roles.at]\na = "go-quic"\nserver = "rust"\n')
    cell = single(peer="traversal-quic", topology=mine)
    assert (cell.peer, cell.relay) == ("go-quic+traversal-quic", "rust")
    assert single("a=rust-quic", peer="traversal-quic", topology=mine).peer.startswith("rust-quic")
    with pytest.raises(UsageError, match="has no effect: the world's file says so"):
        single("a=go-quic", peer="traversal-quic", topology=mine)


@pytest.mark.parametrize(
    ("at", "said", "remedy"),
    [
        (("zoe=ice",), "zoe is no host in two-homes", "a"),
        (("nat-a=ice",), "nat-a is no host in two-homes", "a"),
        (("a",), "HOST=STACK is needed", None),
        (("a=",), "HOST=STACK is needed", None),
        (("a=ice", "a=pion"), "--at names 'a' twice", None),
        (("a=nobody",), "unknown peer 'nobody'", None),
        (("a=ice", "b=punch-tcp"), "a and b do not understand each other", None),
        (("server=ice",), "uses no libp2p relay", None),
    ],
)
def test_a_word_for_nobody_is_refused_with_who_there_is(
    at: tuple[str, ...], said: str, remedy: str | None
) -> None:
    with pytest.raises(UsageError, match=said) as error:
        single(*at)
    assert remedy is None or remedy in (error.value.remedy or "")


def test_a_host_that_plays_no_part_is_refused_with_those_that_do() -> None:
    with pytest.raises(UsageError, match="c plays no part that a stack can be chosen for"):
        single("c=ice", topology="lan-party")


def test_observers_may_be_of_any_stack_that_observes(tmp_path: Path) -> None:
    cell = single("observer-1=go", "observer-3=rust", peer="traversal-quic")
    assert cell.observers == (("observer-1", "go"), ("observer-3", "rust"))
    assert [one.name for one in cell.observing.values()] == ["go-quic", "rust-quic"]
    assert cell.pair.startswith("traversal-quic@observer-1=go@observer-3=rust/")
    save_cell(cell, catalogue(), tmp_path, 0, {})
    assert load_cell(tmp_path)[0] == cell
    assert many("observer-1=go", peers="traversal-quic")[0].observers == (("observer-1", "go"),)
    with pytest.raises(UsageError, match="unknown AutoNAT server 'nobody'"):
        single("observer-1=nobody", peer="traversal-quic")
    with pytest.raises(UsageError, match="ice asks no observers"):
        single("observer-1=go", peer="ice", topology="libp2p")


def test_words_that_say_one_thing_twice_are_refused() -> None:
    with pytest.raises(UsageError, match="--peer libnice has no effect"):
        single("a=ice", "b=pion", peer="libnice")
    with pytest.raises(UsageError, match="--relay rust has no effect: server runs go"):
        many("server=go", peers="traversal-quic", relays="rust")


def test_a_files_host_that_plays_no_part_is_refused_by_its_line() -> None:
    text = find("two-homes").text + '\n[roles.at]\nnat-a = "ice"\n'
    line = text.splitlines().index('nat-a = "ice"') + 1
    from testbed.model.world import parse

    with pytest.raises(TopologyError, match=f"mine.toml:{line}: .*no stack can be chosen for"):
        parse(text, "mine", "mine.toml")


def test_the_command_refuses_a_wrong_host_with_code_2() -> None:
    with pytest.raises(UsageError, match="zoe is no host in two-homes") as error:
        app(args=["run", "--at", "zoe=ice"], standalone_mode=False)
    assert error.value.exit_code == 2
