"""Peers of libp2p's unified-testing contract in whole cells: honest ones, and such as cheat.

Entry points are as those of the project's own images are: a shell that sets a route by the
names of their networks' interfaces, and ends at the first error.
"""

import json
import shlex
import sys
from pathlib import Path

import pytest
from trying import ran, sure

from testbed.capture.reader import read
from testbed.model.breach import Breach, Carried, FalseClaim
from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement, Troubled
from testbed.places import PACKAGE
from testbed.run.cell import Ran
from testbed.stacks import registry as adapter
from testbed.stacks.unified import REDIS
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.external import add_stacks
from testbed.words import sentence

HERE = Path(__file__).resolve().parent
PEER = HERE.parents[1] / "images" / "unified-peer" / "peer.py"
OURS = shlex.join([sys.executable, str(PEER)])
CHEAT = shlex.join([sys.executable, str(HERE / "unified_cheat.py")])
READS = [HERE / "unified_cheat.py", PEER, PACKAGE, Path(sys.prefix)]  # within a shell's words
ENTRY = """set -e
if [ -n "$RELAY_IP" ]; then
    ip route add "$DIALER_LAN_SUBNET" via "$DIALER_ROUTER_IP" dev wan0
    ip route add "$LISTENER_LAN_SUBNET" via "$LISTENER_ROUTER_IP" dev wan0
else
    ip route add "$WAN_SUBNET" via "$WAN_ROUTER_IP" dev lan0
fi
exec """
RESULT = r"printf 'latency:\n  handshake_plus_one_rtt: 60\n  ping_rtt: 40\n  unit: ms\n'"


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds is gone after it."""
    known = dict(adapter._KNOWN)
    monkeypatch.setattr(adapter, "_KNOWN", known)
    monkeypatch.setattr(adapter, "ADAPTERS", known)
    monkeypatch.setattr("testbed.studies.punch.external.ADAPTERS", known)


def shell(script: str) -> str:
    return f"sh -c {shlex.quote(script)}"


def met(
    command: str, folder: Path, pair: str = "port-restricted", mechanism: str = "dcutr_tcp"
) -> Ran:
    """A cell of two such peers; where ``RELAY_IP`` is theirs to serve, they relay, too."""
    add_stacks([f"mine={command}"], mechanism, "unified", READS)
    relay = "mine" if ENTRY in command else adapter.OURS
    return sure(ran(Cell("mine", (pair, pair), relay=relay), folder))


def told(breach: Breach) -> tuple[str, Outcome | None, Outcome] | None:
    """Who claims what, and what the wire shows."""
    if isinstance(breach, FalseClaim):
        return breach.node, breach.claimed, breach.measured
    return None


# cheats first: their word alone would be a pass


@pytest.mark.parametrize("way", ["boast", "redis"])
def test_a_connection_that_did_not_pass_the_lab_is_no_connection(way: str, tmp_path: Path) -> None:
    result = met(f"{CHEAT} {way}", tmp_path)
    verdict = result.verdict
    assert verdict.predicted is Outcome.DIRECT
    assert (verdict.measured, verdict.judgement) == (Outcome.NONE, Judgement.FAIL), verdict
    assert [*map(told, verdict.findings)][:1] == [("a", Outcome.DIRECT, Outcome.NONE)]
    carried = [one for one in verdict.findings if isinstance(one, Carried)]
    assert len(carried) == (2 if way == "redis" else 0)


@pytest.mark.parametrize("way", ["veth", "veth-gone"])
def test_a_wire_to_the_other_peer_is_laid_in_vain(way: str, tmp_path: Path) -> None:
    """The other's process has no number here: both ends of the wire are in the dialer's node."""
    verdict = met(f"{CHEAT} {way}", tmp_path).verdict
    assert verdict.judgement is Judgement.INCONCLUSIVE
    assert isinstance(verdict.because, Troubled)
    assert "the listener, b, had ended with 1" in sentence(verdict.because)


@pytest.mark.timeout(120)
def test_who_calls_a_relayed_connection_direct_fails_where_relayed_is_right(
    tmp_path: Path,
) -> None:
    script = f'{OURS} || [ "$IS_DIALER" != true ] || {{ {RESULT}; }}'
    verdict = met(shell(script), tmp_path, "symmetric").verdict
    assert (verdict.measured, verdict.predicted) == (Outcome.RELAYED, Outcome.RELAYED)
    assert verdict.judgement is Judgement.FAIL
    assert told(verdict.findings[0]) == ("a", Outcome.DIRECT, Outcome.RELAYED)


def test_who_ends_at_once_has_not_stayed_relayed(tmp_path: Path) -> None:
    script = 'echo "no good" >&2; exit 3'
    verdict = met(shell(script), tmp_path, "symmetric").verdict
    assert verdict.judgement is Judgement.INCONCLUSIVE
    assert "asked for no relay, and ended with 3\nno good" in sentence(verdict.because)


def test_who_ends_with_0_and_no_result_breaks_the_contract(tmp_path: Path) -> None:
    verdict = met(shell("exit 0"), tmp_path).verdict
    assert verdict.judgement is Judgement.INCONCLUSIVE
    assert "without a result on stdout" in sentence(verdict.because)


# honest ones


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mechanism", ["dcutr_tcp", "dcutr_quic"])
def test_honest_peers_go_direct_and_their_relay_serves_them(mechanism: str, tmp_path: Path) -> None:
    """Routes of their own, which lead where the default does, are no difference from the plan."""
    result = met(shell(ENTRY + OURS), tmp_path, mechanism=mechanism)
    verdict = result.verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.DIRECT, Judgement.PASS), verdict
    packets = read(tmp_path / "capture.pcapng")
    assert not [p for p in packets if REDIS[1] in (p.source.port, p.destination.port)]
    offered = json.loads((tmp_path / "events.jsonl").read_text())
    assert offered["peer"] == "b"
    assert offered["offer"]["multiaddrs"][0].startswith("/p2p/12D3Koo")


@pytest.mark.timeout(120)
def test_where_no_punch_gets_through_they_stay_relayed_and_say_so(tmp_path: Path) -> None:
    verdict = met(OURS, tmp_path, "symmetric").verdict
    assert (verdict.measured, verdict.judgement) == (Outcome.RELAYED, Judgement.PASS), verdict
