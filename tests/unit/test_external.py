"""Stacks that a user names on the command line."""

import pytest

from testbed.errors import UsageError
from testbed.peers import adapter
from testbed.peers.adapter import stacks
from testbed.peers.external import add_stacks


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds is gone after it."""
    known = dict(adapter._KNOWN)
    monkeypatch.setattr(adapter, "_KNOWN", known)
    monkeypatch.setattr(adapter, "ADAPTERS", known)
    monkeypatch.setattr("testbed.peers.external.ADAPTERS", known)


def test_a_command_becomes_a_stack_that_the_others_of_its_mechanism_understand() -> None:
    assert add_stacks(["mine=sh -c 'echo hello there'"], "dcutr_quic") == ["mine"]
    ends = stacks("mine+traversal-quic")
    assert (ends.topology, ends.transport) == ("libp2p", "udp")
    assert ends.needs == stacks("traversal-quic").needs
    command = ends.dialer.command()
    assert not callable(command)
    assert command[0].endswith("/sh")
    assert command[1:] == ("-c", "echo hello there")


@pytest.mark.parametrize(
    ("described", "mechanism", "words"),
    [
        (["mine=sh"], None, "go together"),
        ([], "ice", "go together"),
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
