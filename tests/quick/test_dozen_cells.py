"""A dozen real cells, one or two a mechanism, that need no program of others: for `make check`.

Two of them must be red, so that a testbed which calls everything PASS is found out as well.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from trying import CATALOGUE, ran, sure

from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement
from testbed.run import cell as runner
from testbed.stacks.registry import stacks
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import prediction
from testbed.studies.punch.mechanisms import of

PASSING = [
    ("punch-udp", "port-restricted", "full-cone", "punch", Outcome.DIRECT),
    ("punch-udp", "symmetric", "symmetric", "punch", Outcome.NONE),
    ("punch-udp", "full-cone", "full-cone", "silent", Outcome.NONE),
    ("punch-tcp", "linux-home", "linux-home", "punch", Outcome.DIRECT),
    ("ice", "linux-home", "restricted-cone", "punch", Outcome.DIRECT),
    ("ice", "symmetric", "symmetric", "punch", Outcome.RELAYED),
    ("traversal-tcp", "full-cone", "port-restricted", "punch", Outcome.DIRECT),
    ("traversal-quic", "symmetric", "port-restricted", "punch", Outcome.RELAYED),
    ("ladder-tcp", "linux-home", "full-cone", "punch", Outcome.DIRECT),
    ("ladder-quic", "restricted-cone", "linux-home", "punch", Outcome.DIRECT),
]


@pytest.mark.parametrize(("peer", "a", "b", "mode", "outcome"), PASSING)
def test_a_pair_goes_the_way_that_is_predicted(
    peer: str, a: str, b: str, mode: str, outcome: Outcome, tmp_path: Path
) -> None:
    cell = Cell(peer, (a, b), of(stacks(peer)).topology, mode=mode)
    verdict = sure(ran(cell, tmp_path)).verdict
    assert (verdict.measured, verdict.judgement) == (outcome, Judgement.PASS), verdict


@pytest.mark.parametrize(
    ("claimed", "really", "outcome"),
    [("full-cone", "symmetric", Outcome.NONE), ("symmetric", "full-cone", Outcome.DIRECT)],
)
def test_a_nat_that_is_not_what_its_profile_claims_is_a_failure(
    claimed: str, really: str, outcome: Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prediction reads the claim, the lab gets the rules of another profile."""
    profiles = CATALOGUE | {claimed: replace(CATALOGUE[really], name=claimed)}
    monkeypatch.setattr(runner, "prediction", lambda cell, *_: prediction(cell, CATALOGUE))
    verdict = sure(ran(Cell("punch-udp", (claimed, claimed)), tmp_path, profiles)).verdict
    assert (verdict.measured, verdict.judgement) == (outcome, Judgement.FAIL), verdict
