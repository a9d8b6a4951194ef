"""Small inputs that once gave a wrong answer, as they were reported, and the right one.

``cases`` has the files.  The other reported cases have their tests elsewhere, with the same input:
forwards in another order and a NAT that lets port 53 out (`test_unusual_profiles`), ports mapped
outwards and a second mapping (`test_mapped_outward`), a puncher that uses its own port
(`test_confusions`), and a mode that a stack has not (`tests/unit/test_cell.py`).
"""

import re
import shlex
import sys
from pathlib import Path

import pytest
from built import built
from probing import Class, Probed, Refused, Wanted, all_probed, held
from shared import once
from trying import CATALOGUE, ran, sure

from testbed.model.explanation import Cause
from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement
from testbed.nat.load import load
from testbed.run.cell import Ran
from testbed.stacks import registry
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.external import add_stacks

HERE = Path(__file__).resolve().parent
GIVEN = HERE / "cases"
UNIFIED = shlex.join([sys.executable, str(HERE.parents[1] / "images" / "unified-peer" / "peer.py")])
EIM, APDF = "endpoint_independent", "address_and_port_dependent"
PORT_RESTRICTED = "port-restricted"
PROFILES = CATALOGUE | {"hairpin-apdf": load(GIVEN / "hairpin-apdf.toml")}
LINUX = {"mapping": EIM, "filtering": APDF, "large": "passed"}

RULES: dict[str, Class | Refused] = {
    "pool-arbitrary.nft": Class(  # ports are not compared without addresses
        LINUX | {"pooling": "arbitrary"}, {}, {"external": ["29.0.0.2", "29.0.0.3"]}
    ),
    "masq.rules": Class(LINUX, {"udp.unsolicited": "icmp"}),  # as the profile naive-linux
    "only-nat.rules": Class(LINUX, {"udp.unsolicited": "icmp"}, {"wan": "eth0"}),
    "router.rules": Class(LINUX, {}, {"wan": "wan0", "lan": "lan0", "inside": "10.125.47.128/27"}),
    "dmz-tcp.rules": Class(
        {"mapping": EIM}, {"tcp.filtering": EIM, "forwards": ["tcp all -> 10.0.0.2"]}
    ),
    "libvirt.rules": Class(LINUX | {"allocation": "preserving_within"}),
    "broken.nft": Refused("line 1: Error: syntax error"),
}
CASES: dict[str, Wanted] = {name: (GIVEN / name, kind) for name, kind in RULES.items()}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Probed]:
    return once(tmp_path_factory, "reported", lambda: all_probed(CASES))


@pytest.mark.parametrize("case", CASES)
def test_reported_rules_are_measured_for_what_they_are(case: str, found: dict[str, Probed]) -> None:
    held(CASES[case], found[case])


def test_the_evidence_of_an_allocation_within_a_range_has_the_sample_that_decided(
    found: dict[str, Probed],
) -> None:
    axes = held(CASES["libvirt.rules"], found["libvirt.rules"])["axes"]
    for protocol in ("udp", "tcp"):
        moved = re.findall(r"(\d+)->(\d+)", axes[f"{protocol}.allocation"]["evidence"])
        assert moved
        assert all(int(inside) < 1024 <= int(outside) for inside, outside in moved)


# -- cells -------------------------------------------------------------------------


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test adds to the stacks is gone after it."""
    known = dict(registry._KNOWN)
    monkeypatch.setattr(registry, "_KNOWN", known)
    monkeypatch.setattr(registry, "ADAPTERS", known)
    monkeypatch.setattr("testbed.studies.punch.external.ADAPTERS", known)


def passed(cell: Cell, folder: Path, outcome: Outcome) -> Ran:
    found = sure(ran(cell, folder, PROFILES))
    verdict = found.verdict
    assert (verdict.measured, verdict.judgement) == (outcome, Judgement.PASS), verdict
    return found


@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", built(["go-quic"]))
def test_a_known_deviation_is_known_between_two_homes(peer: str, tmp_path: Path) -> None:
    passed(Cell(peer, (PORT_RESTRICTED, PORT_RESTRICTED), "two-homes"), tmp_path, Outcome.DIRECT)


@pytest.mark.timeout(180)
@pytest.mark.parametrize("peer", built(["go-tcp"]))
def test_a_known_deviation_is_known_towards_a_public_listener(peer: str, tmp_path: Path) -> None:
    passed(Cell(peer, ("symmetric",), "home-and-public"), tmp_path, Outcome.DIRECT)


@pytest.mark.parametrize(
    ("peer", "topology", "nats"),
    [
        ("traversal-quic", "carrier", ("linux-home", "linux-home")),
        ("traversal-tcp", "same-lan", ("carrier-grade",)),
        ("traversal-tcp", "same-lan", ("hairpin-apdf",)),
    ],
)
def test_a_punch_that_a_shared_nat_hairpins_is_direct_as_predicted(
    peer: str, topology: str, nats: tuple[str, ...], tmp_path: Path
) -> None:
    passed(Cell(peer, nats, topology), tmp_path, Outcome.DIRECT)


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("forgotten")
def test_a_stranger_that_listens_on_any_port_is_not_taken_to_listen_on_4001(
    tmp_path: Path,
) -> None:
    ours = HERE.parents[1] / "testbed"  # the program is of our stack
    add_stacks([f"mine={UNIFIED}"], "dcutr_tcp", "unified", [ours])
    found = passed(Cell("mine", ("symmetric", "port-forward")), tmp_path, Outcome.RELAYED)
    assert found.explanation is not None
    assert found.explanation.cause is not Cause.PORT_NOT_SHARED
