"""js-libp2p as a peer and as a relay: whole cells beside ours and go, its contract, its lock."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from built import built, lack
from trying import CATALOGUE, configure, libp2p_cell, ran, sure

from testbed.model.breach import PunchedEarly
from testbed.model.contract_lines import decode_event
from testbed.model.deviation import Deviation
from testbed.model.distance import extra_time_s
from testbed.model.explanation import Cause
from testbed.model.outcome import Outcome, StepName
from testbed.model.presets import preset
from testbed.model.verdict import Judgement
from testbed.predict.deviations import DEVIATIONS, unexpected
from testbed.stacks.programs import Program
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import deviations, prediction

IMAGE = Path(__file__).resolve().parents[2] / "images" / "js-libp2p"
LOCK = json.loads((IMAGE / "package-lock.json").read_text())["packages"]
PROGRAM = Program("js-libp2p", "Node")
KNOWN = [one for one in DEVIATIONS if one.stack == "js-libp2p"]
needs_js = pytest.mark.skipif(bool(lack("js-tcp")), reason=lack("js-tcp"))


# cells


@needs_js
@pytest.mark.timeout(180)
def test_its_own_end_is_none_of_a_tunnel_in_its_network(tmp_path: Path) -> None:
    cell = Cell("js-quic+traversal-quic", ("restricted-cone", "full-cone"), "vpn-on")
    result = ran(cell, tmp_path)
    assert result.verdict.judgement is Judgement.PASS, result.verdict
    assert result.verdict.measured is Outcome.DIRECT


@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", built(("js-tcp", "traversal-tcp+js-tcp", "js-quic")))
def test_behind_port_restricted_nats_it_stays_relayed_and_the_cause_is_named(
    peer: str, tmp_path: Path
) -> None:
    tried = libp2p_cell(peer, "port-restricted", "port-restricted")
    result = sure(ran(tried, tmp_path))
    verdict = result.verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.RELAYED, Judgement.PASS), verdict
    assert result.explanation is not None
    assert result.explanation.cause is Cause.PORT_NOT_SHARED, result.explanation.headline
    assert deviations(tried, CATALOGUE), "without the table it would be expected to punch"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", built(("js-tcp+traversal-tcp", "traversal-quic+js-quic")))
def test_its_own_dial_gets_in_where_everybody_is_let_in(peer: str, tmp_path: Path) -> None:
    verdict = sure(ran(libp2p_cell(peer, "full-cone", "full-cone"), tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.DIRECT, Judgement.PASS), verdict


@pytest.mark.timeout(180)
@needs_js
def test_it_relays_for_others(tmp_path: Path) -> None:
    tried = libp2p_cell("traversal-tcp", "port-restricted", "port-restricted", relay="js")
    verdict = sure(ran(tried, tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.DIRECT, Judgement.PASS), verdict


@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", built(("js-tcp", "js-quic")))
def test_over_a_satellite_it_makes_its_attempts(peer: str, tmp_path: Path) -> None:
    tried = Cell(peer, ("full-cone", "full-cone"), "satellite")
    verdict = sure(ran(tried, tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.RELAYED, Judgement.PASS), verdict
    assert '"name":"connect_sent","attempt":3' in (tmp_path / "events.jsonl").read_text()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", built(("js-tcp",)))
def test_with_upgrades_off_it_stays_relayed(peer: str, tmp_path: Path) -> None:
    verdict = sure(ran(libp2p_cell(peer, "full-cone", "full-cone", "relay_only"), tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.RELAYED, Judgement.PASS), verdict


# the contract


@needs_js
def test_the_program_is_the_release_that_is_pinned() -> None:
    said = PROGRAM.version()
    assert said == f"js-libp2p {LOCK['node_modules/libp2p']['version']}"


@needs_js
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


@needs_js
@pytest.mark.parametrize(
    "asked",
    [configure(), configure(role="autonat_client"), configure(options={"mode": "silent"})],
    ids=["no relay", "no such role", "no such mode"],
)
def test_what_it_cannot_do_is_a_failure_and_it_closes(asked: dict[str, Any]) -> None:
    lines = f'{json.dumps(asked)}\n{{"command":"close"}}\n'.encode()
    done = subprocess.run(PROGRAM.argv(), input=lines, capture_output=True, timeout=20)
    failed, closed = map(decode_event, done.stdout.splitlines())
    assert (failed.event, getattr(failed, "failure", None)) == ("failed", "unsupported")
    assert (closed.event, done.returncode) == ("closed", 0)


@needs_js
@pytest.mark.parametrize("world", ["far-relay", "lopsided", "satellite", "three-continents"])
def test_each_deadline_is_one_that_node_takes_in_worlds_of_long_ways(world: str) -> None:
    """AbortSignal.timeout throws at a fraction of a millisecond, and DCUtR logs no such error."""
    topology = preset(world, "linux-home", "linux-home")
    extra = extra_time_s(topology, (topology.roles.a, topology.roles.b), topology.roles.relay)
    assert extra > 0
    longer = (
        "import('./contract.mjs').then(({ longer }) => { for (const usual of [2000, 4000, 5000, "
        f"6000]) AbortSignal.timeout(longer({{ extra_time: {extra!r} }}, usual)) }})"
    )
    program = Path(PROGRAM.argv()[0]).resolve()
    (node,) = program.parent.glob("node_modules/node-linux-*/bin/node")
    done = subprocess.run(
        [node, "-e", longer], cwd=IMAGE, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr


# the lock


def test_the_lock_names_no_registry_and_holds_each_package_by_its_hash() -> None:
    assert not [name for name, one in LOCK.items() if "resolved" in one]
    foreign = {name for name, one in LOCK.items() if name and "integrity" not in one}
    assert all(name.startswith("node_modules/@chainsafe/libp2p-quic-") for name in foreign)
    assert "integrity" in LOCK["node_modules/@chainsafe/libp2p-quic-linux-x64-gnu"]


def test_deviations_are_told_of_the_release_that_is_pinned() -> None:
    assert KNOWN
    for one in KNOWN:
        assert one.versions == (LOCK["node_modules/libp2p"]["version"],), one.name


# the table


def outcome(peer: str, a: str, b: str) -> Outcome:
    return prediction(libp2p_cell(peer, a, b), CATALOGUE).outcome


def test_between_two_of_it_nothing_is_dialed() -> None:
    assert outcome("js-tcp", "full-cone", "full-cone") is Outcome.RELAYED
    assert outcome("traversal-tcp", "full-cone", "full-cone") is Outcome.DIRECT


@pytest.mark.parametrize("other", ["traversal", "go"])
@pytest.mark.parametrize("transport", ["tcp", "quic"])
def test_only_a_nat_that_lets_everybody_in_lets_its_dial_in(other: str, transport: str) -> None:
    ours, js = f"{other}-{transport}", f"js-{transport}"
    assert outcome(f"{js}+{ours}", "symmetric", "full-cone") is Outcome.DIRECT
    assert outcome(f"{ours}+{js}", "full-cone", "symmetric") is Outcome.DIRECT
    assert outcome(f"{js}+{ours}", "full-cone", "restricted-cone") is Outcome.RELAYED
    assert outcome(f"{ours}+{js}", "restricted-cone", "full-cone") is Outcome.RELAYED


def test_a_deviation_that_no_packet_shows_is_not_missed_on_the_wire() -> None:
    silent: list[Deviation] = [one for one in KNOWN if not one.breaches]
    assert silent
    assert unexpected([], silent) == []
    other = PunchedEarly("a", StepName.SYNC_RECEIVED)
    assert unexpected([other], silent) == [other]
