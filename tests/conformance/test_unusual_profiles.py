"""Profiles that are legal and unusual are certified, and cells behind them end as predicted."""

from pathlib import Path

import pytest
from shared import once
from trying import ran

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
