"""py-libp2p as a peer: whole cells beside ours, its contract, its lock, what is known of it."""

import json
import re
import subprocess
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
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import deviations, prediction

IMAGE = Path(__file__).resolve().parents[2] / "images" / "py-libp2p"
LOCK = (IMAGE / "requirements.txt").read_text()
PROGRAM = Program("py-libp2p", "Python")
KNOWN = [one for one in DEVIATIONS if one.stack == "py-libp2p"]
LOOKS = """
import sys
from types import SimpleNamespace
import trio, trio.testing
from dns.resolver import BaseResolver
BaseResolver.read_resolv_conf = lambda *_: None
sys.path.insert(0, sys.argv[1])
from story import Punching, Story

async def main():
    place = {"address": "10.0.0.5", "port": 4001}
    story = Story(place, place, "dialer")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Punching(host, story, 2.0)._auto_drive_loop)
        await trio.sleep(10.5)
        story.found.set()
        await trio.sleep(2.5)
        nursery.cancel_scope.cancel()

looks = []
host = SimpleNamespace(get_network=lambda: looks.append(round(trio.current_time() - began)))
clock = trio.testing.MockClock(autojump_threshold=0)
began = clock.current_time()
trio.run(main, clock=clock)
print(*looks)
"""
needs_py = pytest.mark.skipif(bool(lack("py-tcp")), reason=lack("py-tcp"))


# cells


@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", built(("py-tcp", "py-tcp+traversal-tcp", "traversal-tcp+py-tcp")))
def test_over_tcp_a_punch_of_port_restricted_nats_goes_direct(peer: str, tmp_path: Path) -> None:
    verdict = sure(ran(libp2p_cell(peer, "port-restricted", "port-restricted"), tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.DIRECT, Judgement.PASS), verdict


@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", built(("py-quic+traversal-quic", "traversal-quic+py-quic")))
def test_over_quic_it_stays_relayed_as_is_known_and_the_cause_is_told(
    peer: str, tmp_path: Path
) -> None:
    tried = libp2p_cell(peer, "port-restricted", "port-restricted")
    result = sure(ran(tried, tmp_path))
    verdict, told = result.verdict, result.explanation
    assert (verdict.measured, verdict.judgement) == (Outcome.RELAYED, Judgement.PASS), verdict
    assert deviations(tried, CATALOGUE), "without the table it would be expected to punch"
    assert told is not None
    assert told.cause == "port_not_shared", told.headline


# the contract


@needs_py
def test_the_program_is_the_release_that_is_pinned() -> None:
    pinned = re.search(r"^libp2p==(\S+)", LOCK, re.MULTILINE)
    assert pinned is not None
    assert PROGRAM.version() == f"py-libp2p {pinned[1]}"


def test_each_package_of_the_locks_has_a_hash_and_none_names_a_registry() -> None:
    for lock in (LOCK, (IMAGE / "build.txt").read_text()):
        assert "://" not in lock
        packages = re.split(r"\n(?=[a-z0-9])", lock.strip())
        assert all("--hash=sha256:" in package for package in packages)


def test_deviations_are_told_of_the_release_that_is_pinned() -> None:
    assert KNOWN
    for one in KNOWN:
        assert all(f"\nlibp2p=={version} " in LOCK for version in one.versions), one.name


@needs_py
@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "null",
        '{"command":"echo","bytes":0}',
        '{"command":"echo","bytes":9,"nonce":"no"}',
        '{"command":"dial"}',
        '{"command":"configure"}',
        json.dumps(configure(version=1)),
        json.dumps(configure(more=1)),
    ],
)
def test_what_breaks_the_contract_ends_the_program_with_words(line: str) -> None:
    done = subprocess.run(
        PROGRAM.argv(), input=f"{line}\n", capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1, done.stderr


@needs_py
@pytest.mark.parametrize(
    "asked",
    [configure(), configure(role="conductor"), configure(options={"mode": "silent"})],
    ids=["no relay", "no such role", "no such mode"],
)
def test_what_it_cannot_do_is_a_failure_and_it_closes(asked: dict[str, Any]) -> None:
    with subprocess.Popen(
        PROGRAM.argv(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        peer.stdin.write(json.dumps(asked).encode() + b"\n")
        peer.stdin.flush()
        failed = decode_event(peer.stdout.readline())
        assert (failed.event, getattr(failed, "failure", None)) == ("failed", "unsupported")
        peer.stdin.write(b'{"command":"close"}\n')
        peer.stdin.flush()
        assert decode_event(peer.stdout.readline()).event == "closed"
        assert peer.wait(20) == 0


@needs_py
def test_it_looks_for_whom_to_upgrade_to_from_the_circuit_on_and_not_by_chance_before() -> None:
    built = PROGRAM.expected.parent
    asked = [str(built / "venv" / "bin" / "python"), "-c", LOOKS, str(IMAGE / "peer")]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["12"]  # seconds: the circuit is there after 10.5


@needs_py
@pytest.mark.timeout(180)
def test_in_one_network_it_goes_direct_to_the_address_that_identify_told(tmp_path: Path) -> None:
    """Beside ours, which dials no private address: who dials is sure, and gets in."""
    cell = Cell("py-tcp+traversal-tcp", ("port-restricted",), "same-lan")
    verdict = sure(ran(cell, tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.DIRECT, Judgement.PASS), verdict


# the table


def outcome(peer: str, a: str, b: str) -> Outcome:
    return prediction(libp2p_cell(peer, a, b), CATALOGUE).outcome


def test_over_quic_only_a_dial_to_who_lets_everybody_in_is_expected_to_go_direct() -> None:
    assert outcome("py-quic+traversal-quic", "port-restricted", "full-cone") is Outcome.DIRECT
    assert outcome("traversal-quic+py-quic", "full-cone", "port-restricted") is Outcome.RELAYED
    assert outcome("py-quic", "full-cone", "full-cone") is Outcome.RELAYED
    assert outcome("py-quic+js-quic", "full-cone", "full-cone") is Outcome.RELAYED
    assert outcome("traversal-quic", "full-cone", "full-cone") is Outcome.DIRECT


def test_over_tcp_a_nat_that_does_not_preserve_ports_is_expected_to_keep_it_relayed() -> None:
    assert outcome("py-tcp", "port-restricted", "port-restricted") is Outcome.DIRECT
    assert outcome("py-tcp", "sequential", "port-restricted") is Outcome.RELAYED
    assert outcome("traversal-tcp", "sequential", "port-restricted") is Outcome.DIRECT


def test_over_tcp_nobody_is_expected_to_serve_alone_but_gos_third_attempt_helps() -> None:
    pair = ("full-cone", "symmetric")
    assert outcome("py-tcp", *pair) is Outcome.RELAYED
    assert outcome("py-tcp+traversal-tcp", *pair) is Outcome.RELAYED
    assert outcome("go-tcp+py-tcp", *pair) is Outcome.RELAYED
    assert outcome("py-tcp+go-tcp", *pair) is Outcome.DIRECT
    assert outcome("traversal-tcp+py-tcp", *pair) is Outcome.DIRECT


def test_only_who_lets_everybody_in_is_expected_to_take_the_closed_dial_for_good() -> None:
    def names(peer: str, a: str) -> list[str]:
        tried = libp2p_cell(peer, a, "port-restricted")
        return [one.name for one in deviations(tried, CATALOGUE)]

    closed = "over QUIC it closes its dial of a punch, and the dialer has told of it"
    for dialer in ("go-quic", "rust-quic"):
        assert closed in names(f"{dialer}+py-quic", "full-cone")
        assert closed not in names(f"{dialer}+py-quic", "restricted-cone")
    assert closed not in names("traversal-quic+py-quic", "full-cone")
    assert closed not in names("py-quic+go-quic", "full-cone")
