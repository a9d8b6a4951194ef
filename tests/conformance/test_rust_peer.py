"""rust-libp2p as a peer: whole cells beside ours, its contract, and what is known to deviate."""

import json
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from built import built, lack
from trying import CATALOGUE, configure, libp2p_cell, ran, sure

from testbed.model.contract_lines import decode_event
from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement
from testbed.predict.deviations import DEVIATIONS
from testbed.stacks.programs import Program
from testbed.stacks.registry import adapter
from testbed.studies.punch.expectation import deviations, prediction

IMAGE = Path(__file__).resolve().parents[2] / "images" / "rust-libp2p"
PINNED = {"rust-libp2p": IMAGE, "rust-libp2p-v0.54": IMAGE / "old"}
PUNCHES = (
    "rust-quic",
    "rust-quic+traversal-quic",
    "rust-tcp+traversal-tcp",
    "traversal-quic+rust-quic",
    "traversal-tcp+rust-tcp",
    "rust-v0.54-tcp",
)
KNOWN = [one for one in DEVIATIONS if one.stack == "rust-libp2p"]
needs_rust = pytest.mark.skipif(bool(lack("rust-quic")), reason=lack("rust-quic"))


def release(folder: Path) -> str:
    """Of rust-libp2p, as the lock file has it."""
    packages = tomllib.loads((folder / "Cargo.lock").read_text())["package"]
    version: str = next(one["version"] for one in packages if one["name"] == "libp2p")
    return version


# cells


@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", built(PUNCHES))
def test_a_punch_of_port_restricted_nats_goes_direct_as_is_known(peer: str, tmp_path: Path) -> None:
    verdict = sure(ran(libp2p_cell(peer, "port-restricted", "port-restricted"), tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.DIRECT, Judgement.PASS), verdict


@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", built(("rust-tcp", "rust-v0.54-tcp")))
def test_behind_nats_that_change_ports_only_the_old_release_punches(
    peer: str, tmp_path: Path
) -> None:
    expected = Outcome.DIRECT if peer == "rust-v0.54-tcp" else Outcome.RELAYED
    verdict = sure(ran(libp2p_cell(peer, "sequential", "sequential"), tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (expected, Judgement.PASS), verdict


@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", built(("rust-tcp",)))
def test_with_upgrades_off_open_nats_stay_relayed(peer: str, tmp_path: Path) -> None:
    verdict = sure(ran(libp2p_cell(peer, "full-cone", "full-cone", "relay_only"), tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.RELAYED, Judgement.PASS), verdict


# the contract


@needs_rust
@pytest.mark.parametrize("name", PINNED)
def test_a_program_is_the_release_that_is_pinned(name: str) -> None:
    if Program(name, "Rust").path is None:
        pytest.skip(f"{name} is not built")
    assert Program(name, "Rust").version() == f"rust-libp2p {release(PINNED[name])}"


@needs_rust
@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "null",
        '{"command":"echo","bytes":0}',
        '{"command":"echo","bytes":9,"nonce":"no"}',
        '{"command":"dial"}',
        '{"command":"close"}',
        '{"command":"configure"}',
        json.dumps(configure(version=1)),
        json.dumps(configure(more=1)),
        json.dumps(configure(session="short", relays=["/ip4/127.0.0.1/udp/1/quic-v1"])),
    ],
)
def test_what_breaks_the_contract_ends_the_program_with_words(line: str) -> None:
    argv = adapter("rust-quic").command()
    assert isinstance(argv, tuple)
    done = subprocess.run(argv, input=f"{line}\n", capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "panic" not in done.stderr


@needs_rust
@pytest.mark.parametrize(
    "asked",
    [configure(), configure(options={"mode": "silent", "relay_only": False})],
    ids=["no relay", "no such mode"],
)
def test_what_it_cannot_do_is_a_failure_and_it_closes(asked: dict[str, Any]) -> None:
    argv = adapter("rust-quic").command()
    assert isinstance(argv, tuple)
    lines = f'{json.dumps(asked)}\n{{"command":"close"}}\n'.encode()
    done = subprocess.run(argv, input=lines, capture_output=True, timeout=10)
    failed, closed = map(decode_event, done.stdout.splitlines())
    assert (failed.event, getattr(failed, "failure", None)) == ("failed", "unsupported")
    assert (closed.event, done.returncode) == ("closed", 0)


# the table


def outcome(peer: str, a: str, b: str) -> Outcome:
    return prediction(libp2p_cell(peer, a, b), CATALOGUE).outcome


def names(peer: str, a: str, b: str) -> list[str]:
    return [one.name for one in deviations(libp2p_cell(peer, a, b), CATALOGUE)]


def test_deviations_are_told_of_releases_that_are_pinned() -> None:
    pinned = {release(folder) for folder in PINNED.values()}
    assert KNOWN
    for one in KNOWN:
        assert set(one.versions) <= pinned, one.name


@pytest.mark.parametrize("transport", ["tcp", "quic"])
def test_a_forgotten_port_matters_only_where_ports_are_changed_and_looked_at(
    transport: str,
) -> None:
    now, old = f"rust-{transport}", f"rust-v0.54-{transport}"
    assert outcome(now, "sequential", "port-restricted") is Outcome.RELAYED
    assert outcome(old, "sequential", "port-restricted") is Outcome.DIRECT
    assert outcome(now, "port-restricted", "port-restricted") is Outcome.DIRECT
    assert outcome(f"{now}+traversal-{transport}", "sequential", "full-cone") is Outcome.DIRECT


def test_over_tcp_a_syn_from_a_symmetric_nat_finds_no_client_unless_the_dialer_is_ours() -> None:
    for a in ("full-cone", "restricted-cone"):
        assert outcome("rust-tcp", a, "symmetric") is Outcome.RELAYED
        assert outcome("traversal-tcp+rust-tcp", a, "symmetric") is Outcome.DIRECT
    assert outcome("rust-tcp+traversal-tcp", "full-cone", "symmetric") is Outcome.DIRECT  # reversed


def test_over_quic_the_listeners_own_dial_gets_in_where_datagrams_would_not() -> None:
    pair = ("restricted-cone", "symmetric")
    assert outcome("traversal-quic+rust-quic", *pair) is Outcome.DIRECT
    assert outcome("rust-quic+traversal-quic", *pair) is Outcome.RELAYED
    assert names("rust-quic+traversal-quic", "full-cone", "full-cone") == []
    assert "over QUIC the listener dials, too" in names("rust-quic", "full-cone", "full-cone")
