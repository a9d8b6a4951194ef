"""go-libp2p as a peer: whole cells beside ours, its contract, and what is known to deviate."""

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from built import built, lack
from patience import too_busy
from trying import CATALOGUE, configure, libp2p_cell, ran, sure

from testbed.lab.namespaces import Namespaces
from testbed.model.breach import DeviationGone, PunchedEarly, RelayKept
from testbed.model.contract import Event, Ready
from testbed.model.contract_lines import decode_event
from testbed.model.outcome import Outcome, StepName
from testbed.model.reason import Deviates
from testbed.model.verdict import Judgement
from testbed.predict.deviations import DEVIATIONS, expected, unexpected
from testbed.run.engine import run_study
from testbed.stacks.programs import Program
from testbed.studies.autonat.asking import Asking
from testbed.studies.autonat.study import STUDY, AutonatCase
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import deviations, prediction
from testbed.words import sentence

IMAGE = Path(__file__).resolve().parents[2] / "images" / "go-libp2p"
PROGRAM = Program("go-libp2p", "Go")
PINNED = {"go-libp2p": "go.mod", "go-libp2p-v0.46": "old.mod"}
MIXED = (
    "go-quic",
    "go-quic+traversal-quic",
    "traversal-quic+go-quic",
    "go-tcp",
    "go-tcp+traversal-tcp",
    "traversal-tcp+go-tcp",
    "go-v0.46-quic",
    "go-v0.46-tcp",
)
KEPT = next(one for one in DEVIATIONS if one.name == "the relayed connection is kept")
needs_go = pytest.mark.skipif(bool(lack("go-quic")), reason=lack("go-quic"))


def release(module_file: str) -> str:
    words = (IMAGE / module_file).read_text().split()
    return words[words.index("github.com/libp2p/go-libp2p") + 1]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", built(MIXED))
def test_a_punch_of_port_restricted_nats_goes_direct_and_keeps_to_the_protocol(
    peer: str, tmp_path: Path
) -> None:
    verdict = sure(ran(libp2p_cell(peer, "port-restricted", "port-restricted"), tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.DIRECT, Judgement.PASS), verdict


@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", built(("go-quic", "go-tcp")))
def test_with_upgrades_off_open_nats_stay_relayed(peer: str, tmp_path: Path) -> None:
    verdict = sure(ran(libp2p_cell(peer, "full-cone", "full-cone", "relay_only"), tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.RELAYED, Judgement.PASS), verdict


@needs_go
@pytest.mark.parametrize("name", PINNED)
def test_a_program_is_the_release_that_is_pinned(name: str) -> None:
    if Program(name, "Go").path is None:
        pytest.skip(f"{name} is not built")
    assert Program(name, "Go").version() == f"go-libp2p {release(PINNED[name])}"


def test_deviations_are_told_of_releases_that_are_pinned() -> None:
    pinned = {release(file) for file in PINNED.values()}
    for one in DEVIATIONS:
        if one.stack == "go-libp2p":
            assert set(one.versions) <= pinned, one.name


@needs_go
@pytest.mark.parametrize(
    "line",
    [
        "not json",
        '{"command":"echo","bytes":0}',
        '{"command":"echo","bytes":9,"nonce":"no"}',
        '{"command":"dial"}',
        '{"command":"configure"}',
    ],
)
def test_what_breaks_the_contract_ends_the_program_with_words(line: str) -> None:
    done = subprocess.run(
        PROGRAM.argv(), input=f"{line}\n", capture_output=True, text=True, timeout=10
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip()
    assert "panic" not in done.stderr


@needs_go
def test_what_it_cannot_do_is_a_failure_and_it_closes() -> None:
    failed, closed = talk({}, "failed")  # a dialer without a relay
    assert (getattr(failed, "failure", None), closed) == ("unsupported", 0)


def talk(words: dict[str, Any], wanted: str) -> tuple[Event, int]:
    """Configure the program with ``words``; its first event, which is ``wanted``, and its exit."""
    with subprocess.Popen(
        PROGRAM.argv(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        peer.stdin.write(json.dumps(configure(transport="udp", **words)).encode() + b"\n")
        peer.stdin.flush()
        first = decode_event(peer.stdout.readline())
        assert first.event == wanted, first
        peer.stdin.write(b'{"command":"close"}\n')
        peer.stdin.flush()
        assert decode_event(peer.stdout.readline()).event == "closed"
        return first, peer.wait(10)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


# its other roles


@needs_go
@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", built(("traversal-quic", "go-tcp")))
def test_its_relay_carries_whom_the_nats_keep_apart(peer: str, tmp_path: Path) -> None:
    tried = Cell(peer, ("symmetric", "symmetric"), "libp2p", relay="go")
    verdict = sure(ran(tried, tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.RELAYED, Judgement.PASS), verdict


@needs_go
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("client", "server"), [("go", "traversal"), ("traversal", "go")])
def test_autonat_between_go_and_ours_says_what_the_model_says(
    client: str, server: str, tmp_path: Path
) -> None:
    asking = Asking(client, server)
    asking.prepare()
    cases = [AutonatCase(CATALOGUE[name], asking) for name in ("full-cone", "port-restricted")]
    found = run_study(STUDY, cases, Namespaces(), tmp_path, jobs=2, progress=lambda *_: None)
    if any(result.judgement is Judgement.INCONCLUSIVE for result in found):
        too_busy(str(found))
    assert [result.judgement for result in found] == [Judgement.PASS] * 2, found


@needs_go
@pytest.mark.parametrize("role", ["relay", "autonat_server"])
def test_a_public_node_says_where_it_is_and_closes(role: str) -> None:
    ready, closed = talk({"role": role, "port": free_port()}, "ready")
    assert isinstance(ready, Ready)
    assert "/p2p/12D3KooW" in ready.addresses[0]
    assert closed == 0


# the table


def test_the_third_attempt_is_expected_only_where_the_listener_is_go_over_quic() -> None:
    def outcome(peer: str) -> Outcome:
        return prediction(libp2p_cell(peer, "restricted-cone", "symmetric"), CATALOGUE).outcome

    assert outcome("traversal-quic+go-quic") is Outcome.DIRECT
    assert outcome("go-quic") is Outcome.DIRECT
    assert outcome("go-quic+traversal-quic") is Outcome.RELAYED
    assert outcome("traversal-quic") is Outcome.RELAYED
    assert outcome("go-v0.46-quic") is Outcome.RELAYED


def test_where_only_the_listeners_syn_gets_in_go_is_reached_by_the_third_attempt_alone() -> None:
    def outcome(peer: str, a: str = "restricted-cone", b: str = "symmetric") -> Outcome:
        return prediction(libp2p_cell(peer, a, b), CATALOGUE).outcome

    assert outcome("traversal-tcp+go-tcp") is Outcome.DIRECT
    assert outcome("go-tcp") is Outcome.DIRECT
    assert outcome("go-tcp+traversal-tcp") is Outcome.RELAYED
    assert outcome("go-v0.46-tcp") is Outcome.RELAYED
    assert outcome("go-v0.46-tcp+go-tcp") is Outcome.DIRECT
    assert outcome("go-tcp+traversal-tcp", "symmetric", "restricted-cone") is Outcome.DIRECT
    names = [
        one.name
        for one in deviations(libp2p_cell("go-tcp", "restricted-cone", "symmetric"), CATALOGUE)
    ]
    assert names[-3:] == [
        "what is accepted in a punch is served",
        "the third attempt swaps roles over TCP",
        "the relayed connection is kept",
    ]


def test_where_the_filter_looks_at_ports_the_third_attempt_changes_nothing() -> None:
    tried = libp2p_cell("traversal-quic+go-quic", "port-restricted", "symmetric")
    assert deviations(tried, CATALOGUE) == ()


def test_a_known_breach_is_let_pass_and_its_absence_is_told() -> None:
    for found in (RelayKept("a", "b"), RelayKept("a")):
        assert unexpected([found], (KEPT,)) == []
    assert unexpected([], (KEPT,)) == [DeviationGone(KEPT.stack, KEPT.name, KEPT.link)]


def test_an_unknown_breach_is_told_beside_a_known_one() -> None:
    kept, other = RelayKept("a", "b"), PunchedEarly("a", StepName.SYNC_RECEIVED)
    assert unexpected([kept, other], (KEPT,)) == [other]
    assert unexpected([kept], ()) == [kept]


def test_a_deviation_is_named_and_dated_in_the_prediction() -> None:
    plain = prediction(libp2p_cell("traversal-quic", "full-cone", "full-cone"), CATALOGUE)
    told = expected(plain, (KEPT,)).reason
    assert told == Deviates(plain.reason, KEPT.stack, KEPT.name, KEPT.date)
    assert KEPT.date in sentence(told)
    assert expected(plain, ()) == plain
