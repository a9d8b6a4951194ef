"""Stacks that a user names on the command line."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from testbed.errors import UnfitError, UsageError
from testbed.model.outcome import Outcome
from testbed.nat.load import catalogue, find
from testbed.run.judging import _starts
from testbed.stacks import registry as adapter
from testbed.stacks.registry import stacks
from testbed.studies.punch import external
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import prediction
from testbed.studies.punch.external import add_stacks
from testbed.studies.punch.folder import load_cell, save_cell
from testbed.studies.punch.mechanisms import of


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds is gone after it."""
    known = dict(adapter._KNOWN)
    monkeypatch.setattr(adapter, "_KNOWN", known)
    monkeypatch.setattr(adapter, "ADAPTERS", known)
    monkeypatch.setattr("testbed.studies.punch.external.ADAPTERS", known)


def test_a_command_becomes_a_stack_that_the_others_of_its_mechanism_understand() -> None:
    assert add_stacks(["mine=sh -c 'echo hello there'"], "dcutr_quic") == ["mine"]
    ends = stacks("mine+traversal-quic")
    assert (of(ends).topology, ends.transport) == ("libp2p", "udp")
    assert ends.needs == stacks("traversal-quic").needs
    command = ends.dialer.command()
    assert isinstance(command, Sequence)
    assert command[0].endswith("/sh")
    assert command[1:] == ("-c", "echo hello there")


def test_nobody_knows_when_a_users_ice_agent_begins_and_so_it_is_never_late() -> None:
    add_stacks(["mine=sh"], "ice")
    homes = ("full-cone", "full-cone")
    assert set(_starts(Cell("ice+mine", homes), 0)) == {"a"}
    assert set(_starts(Cell("mine+ice", homes), 0)) == {"b"}
    assert set(_starts(Cell("pion+ice", homes, skew_ms=5.0), 0)) == {"a", "b"}


@pytest.mark.parametrize(
    ("described", "mechanism", "words"),
    [
        (["mine=sh"], None, "go together"),
        (["mine=sh -c x"], None, "mine=sh -c x' --mechanism M, where M is one of: .*punch_udp"),
        ([], "ice", "mine=./my-peer --mechanism ice"),
        (["mine=sh"], "carrier-pigeon", "unknown mechanism 'carrier-pigeon'"),
        (["mine"], "ice", "that is no command"),
        (["mine="], "ice", "that is no command"),
        (["mine=sh 'open"], "ice", "that is no command"),
        (["=sh"], "ice", "a name has"),
        (["a/b=sh"], "ice", "a name has"),
        (["a+b=sh"], "ice", "a name has"),
        (["mine=./no/such/program"], "ice", "no program ./no/such/program"),
        (["pion=sh"], "ice", "two peer adapters are called 'pion'"),
        (["mine=sh", "mine=sh"], "ice", "two peer adapters are called 'mine'"),
    ],
)
def test_what_is_no_stack_is_refused(
    described: list[str], mechanism: str | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        add_stacks(described, mechanism)


def test_a_cell_of_the_users_stack_is_read_where_the_stack_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profiles = {name: find(name) for name in ("full-cone", "symmetric")}
    before = dict(adapter.ADAPTERS)
    add_stacks(["mine=sh", "yours=image:yours"], "dcutr_tcp", "unified")
    cell = Cell("mine+yours", ("full-cone", "symmetric"), relay="mine")
    save_cell(cell, profiles, tmp_path, 0, None)
    for module in (adapter, external):
        monkeypatch.setattr(module, "ADAPTERS", before)
    monkeypatch.setattr(adapter, "_KNOWN", before)
    read, _, _ = load_cell(tmp_path)
    assert read == cell
    assert (read.stacks.mechanism, read.stacks.contract) == ("dcutr_tcp", "unified")
    with pytest.raises(UnfitError, match="mine was a stack of your own"):
        read.prepare()


@pytest.mark.parametrize(
    "own",
    [
        '{"mine": {}}',
        '{"mine": 1}',
        "[1]",
        '{"go-tcp+x": {"mechanism": "ice", "contract": "lines"}}',
    ],
)
def test_a_file_that_tells_nonsense_of_a_stack_is_named(own: str, tmp_path: Path) -> None:
    profiles = {"full-cone": find("full-cone")}
    save_cell(Cell("ice", ("full-cone", "full-cone")), profiles, tmp_path, 0, None)
    data = json.loads((tmp_path / "cell.json").read_text()) | {"own": json.loads(own)}
    (tmp_path / "cell.json").write_text(json.dumps(data))
    with pytest.raises(UsageError):
        load_cell(tmp_path)


def test_no_forward_is_taken_for_that_of_a_peer_whose_port_nobody_chose() -> None:
    """Peers of the unified-testing contract listen on port 0; others where they are told to."""
    add_stacks(["mine=/bin/true"], "dcutr_tcp", "unified")
    nats = ("symmetric", "port-forward")
    assert prediction(Cell("mine", nats), catalogue()).outcome is Outcome.RELAYED
    assert prediction(Cell("traversal-tcp", nats), catalogue()).outcome is Outcome.DIRECT
