"""Lives in labs: what becomes of a direct path is what the model says.

All are led once, several at a time.
"""

from pathlib import Path

import pytest
from patience import too_busy
from shared import once

from testbed.cli.commands.life import DEFAULT_PEERS, cases
from testbed.errors import PeerError
from testbed.lab.namespaces import NamespaceLab, Namespaces
from testbed.model.breach import Breach, FateDiffers, GapDiffers, PlaceDiffers
from testbed.model.life import Fate
from testbed.model.network_fault import Fault
from testbed.model.result import Result
from testbed.model.verdict import Judgement
from testbed.run.engine import run_study
from testbed.studies.base import Site
from testbed.studies.life.case import LifeCase
from testbed.studies.life.run import Wait, lead
from testbed.studies.life.scenarios import scenario
from testbed.studies.life.study import STUDY, breaches

pytestmark = pytest.mark.timeout(900)

JOBS = 8
# What happens to wires, hosts and interfaces befalls all stacks alike: one is enough.
ALIKE = (
    *("dns-restart", "doze", "lease-lost", "loss-burst", "relay-restart", "sleep", "slower"),
    *("uplink-fails", "vpn-goes-on"),
)
CASES = [
    case
    for case in cases([], DEFAULT_PEERS)
    if case.scenario.name not in ALIKE or case.peer == "traversal-quic"
]
CASES += cases(["lease-lost"], "ladder-quic")  # whose listener has a mapped port to lose
NAMES = [case.name for case in CASES]


@pytest.fixture(scope="module")
def led(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    out = tmp_path_factory.mktemp("life")

    def run() -> list[Result]:
        return run_study(
            STUDY, CASES, Namespaces(), out, jobs=JOBS, progress=lambda *_: None
        )  # fmt: skip

    return {one.name: one for one in once(tmp_path_factory, "life", run)}


@pytest.mark.parametrize("name", NAMES)
def test_a_life_goes_as_expected(name: str, led: dict[str, Result]) -> None:
    assert led[name].judgement is Judgement.PASS, led[name].reason


# Negative controls


def _without_the_fault(case: LifeCase, folder: Path) -> tuple[Breach, ...]:
    def nothing(_lab: NamespaceLab, _fault: Fault, _wait: Wait) -> None:
        return

    expected = case.expected()
    found = lead(case, expected, Site(Namespaces(), 0, folder), nothing)
    return tuple(breaches(found, expected, case.transport, case.topology.roles.a))


@pytest.mark.parametrize(
    ("name", "peer", "kind"),
    [
        ("blip", "punch-udp", GapDiffers),
        ("rebinding-open", "punch-udp", PlaceDiffers),
        ("rebinding", "traversal-quic", FateDiffers),
        ("outage", "traversal-tcp", FateDiffers),
        ("sleep", "punch-udp", GapDiffers),
        ("vpn-goes-on", "punch-udp", FateDiffers),
        ("lease-lost", "ladder-quic", FateDiffers),
    ],
)
def test_a_fault_that_nobody_did_is_noticed(
    name: str, peer: str, kind: type[Breach], tmp_path: Path
) -> None:
    found = _without_the_fault(LifeCase(scenario(name), peer), tmp_path)
    assert kind in {type(one) for one in found}


@pytest.mark.parametrize(("name", "end"), [("blip", "b"), ("rebinding-open", "a")])
def test_a_peer_that_a_signal_stopped_is_no_path_that_was_lost(
    name: str, end: str, tmp_path: Path
) -> None:
    def stop(lab: NamespaceLab, _fault: Fault, _wait: Wait) -> None:
        for process in lab.processes(end):
            process.pause()

    case = LifeCase(scenario(name), "punch-udp")
    with pytest.raises(PeerError, match="a signal stopped it") as caught:
        lead(case, case.expected(), Site(Namespaces(), 0, tmp_path), stop)
    assert caught.value.node == end


def test_keepalives_are_what_keeps_a_mapping(led: dict[str, Result]) -> None:
    fates = {
        name: led[f"punch-udp/{name}/0"].measured
        for name in ("keepalive", "slow-keepalive", "no-keepalive")
    }
    assert fates == {
        "keepalive": Fate.SURVIVES, "slow-keepalive": Fate.LOST, "no-keepalive": Fate.LOST,
    }  # fmt: skip


@pytest.mark.parametrize("peer", ["traversal-quic", "punch-udp"])
def test_who_roams_into_the_listeners_own_lan_is_followed_there(peer: str, tmp_path: Path) -> None:
    """Its new gateway is on a bridge, and its old address is no longer to be reached."""
    world = Path(__file__).parent / "cases" / "roams-into-the-listeners-lan.toml"
    (case,) = cases((), peer, topology=str(world))
    (result,) = run_study(STUDY, [case], Namespaces(), tmp_path, jobs=1, progress=lambda *_: None)
    if result.late:
        too_busy(result.reason)
    fate = {"traversal-quic": "relayed", "punch-udp": "lost"}[peer]
    assert (result.judgement, result.measured) == (Judgement.PASS, fate), result.reason
