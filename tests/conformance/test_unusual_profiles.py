"""Profiles that are legal and unusual are certified, and cells behind them end as predicted."""

from pathlib import Path

import pytest
from shared import once
from trying import ran, sure

from testbed.certify.certificates import Certificate, Verdict, certify_all
from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement
from testbed.nat.load import by_name, load
from testbed.studies.punch.cell import Cell

PROFILES = sorted((Path(__file__).parent / "profiles").glob("*.toml"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    def measured() -> dict[str, Certificate]:
        profiles = [load(path) for path in PROFILES]
        return {one.profile: one for one in certify_all(profiles, jobs=4)}

    return once(tmp_path_factory, "unusual", measured)


@pytest.mark.parametrize("name", [path.stem for path in PROFILES])
def test_an_unusual_profile_is_what_it_declares(name: str, found: dict[str, Certificate]) -> None:
    certificate = found[name]
    assert certificate.verdict is Verdict.PASS, certificate


@pytest.mark.parametrize("peer", ["punch-udp", "punch-tcp", "ice"])
def test_a_host_behind_a_plain_router_is_reached_like_a_public_one(
    peer: str, tmp_path: Path
) -> None:
    plain = load(Path(__file__).parent / "profiles" / "plain-router.toml")
    profiles = by_name([plain], ["plain-router", "symmetric"])
    result = ran(Cell(peer, ("plain-router", "symmetric")), tmp_path, profiles)
    assert result.verdict.judgement is Judgement.PASS, result.verdict
    assert result.verdict.measured is Outcome.DIRECT


@pytest.mark.parametrize(
    ("peer", "pair", "world", "outcome"),
    [
        # Of the relay and four observers, three are reached: the stack ends there.
        ("traversal-tcp", ("quota-apdm", "full-cone"), "libp2p", Outcome.NONE),
        ("ice", ("quota-apdm", "port-restricted"), "two-homes", Outcome.RELAYED),
        ("traversal-quic", ("port-set-apdm", "restricted-cone"), "libp2p", Outcome.DIRECT),
        ("punch-udp", ("dmz-host", "symmetric"), "two-homes", Outcome.DIRECT),
        ("ice", ("symmetric", "dmz-host"), "two-homes", Outcome.DIRECT),
        ("traversal-tcp", ("symmetric", "one-to-one"), "libp2p", Outcome.DIRECT),
        ("traversal-quic", ("dmz-host", "symmetric"), "libp2p", Outcome.DIRECT),
        # The filter of b knows the address that a's STUN server saw, and a calls from another.
        ("punch-udp", ("linux-home", "restricted-cone"), "pooled-carrier", Outcome.NONE),
    ],
)
def test_a_cell_behind_few_mappings_or_a_pool_or_exposed_ends_as_predicted(
    peer: str, pair: tuple[str, str], world: str, outcome: Outcome, tmp_path: Path
) -> None:
    verdict = sure(ran(Cell(peer, pair, world), tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (outcome, Judgement.PASS), verdict
