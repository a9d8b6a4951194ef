"""No recording has a verdict and an explanation that deny each other, and a planted one is found.

What a run makes is held to the same in `tests/golden` and `tests/conformance/test_cheats.py`.
"""

import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from agreeing import at_odds, odds
from withheld import patient

from testbed.evidence.account import WireAccount
from testbed.explain import explainer
from testbed.model.explanation import Cause, Evidence
from testbed.model.fault import Clash, Contradicted
from testbed.model.judgement import Verdict
from testbed.model.outcome import Outcome
from testbed.model.packet import Packet
from testbed.model.verdict import Judgement
from testbed.run import explaining
from testbed.studies.kept import CRASH
from testbed.studies.punch.evidence import load_evidence
from testbed.verdict.agreement import THROUGH
from testbed.words import sentence

from test_agreement import NOWHERE, verdict_of  # isort: skip

HERE = Path(__file__).parent
ARCHIVE = HERE / "captures" / "causes.tar.xz"
GOLDEN = sorted((HERE.parent / "golden").glob("matrix-*.json"))
GAVE_UP = {"peer_failed", "never_sent", "relay_unreachable", "harness_fault", "unknown"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    with tarfile.open(ARCHIVE) as tar:
        for member in tar:
            target, content = folder / member.name, tar.extractfile(member)
            assert content is not None
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read())
    return folder


def settled(evidence: Evidence) -> tuple[Evidence, Verdict]:
    """As a run reports it."""
    account = WireAccount.of(evidence)
    _, after, verdict = explaining.explained(evidence, account, verdict_of(evidence), NOWHERE)
    return after, verdict


def test_no_recorded_cell_is_at_odds_with_itself(recorded: Path) -> None:
    """Two are, as they were recorded: one was judged before the two were held together, of the
    other the prediction was broken on purpose.
    """
    assert set(at_odds(recorded)) == {"cut link", "static forward"}
    cut = load_evidence(recorded / "cut link")
    after, verdict = settled(cut)
    assert (verdict.judgement, list(odds(after))) == (Judgement.INCONCLUSIVE, [])


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_no_line_of_a_recorded_matrix_denies_itself(path: Path) -> None:
    """All of them pass, and so each has a cause that fits what was measured."""
    pairs = json.loads(path.read_text(encoding="utf-8"))["pairs"]
    through = {cause.value for cause in THROUGH}
    wrong = {
        name: one
        for name, one in pairs.items()
        if one["cause"] in GAVE_UP or (one["measured"] == "direct") != (one["cause"] in through)
    }
    assert len(pairs) > 100
    assert wrong == {}


# -- planted ---------------------------------------------------------------------------


def passes(recorded: Path, outcome: Outcome) -> Iterator[tuple[str, Evidence]]:
    """Recorded cells that pass, as they are read."""
    for file in sorted(recorded.rglob("cell.json")):
        evidence = patient(load_evidence(file.parent))
        if evidence.judgement is Judgement.PASS and evidence.measured is outcome:
            yield file.parent.name, evidence


def without(evidence: Evidence, keep: Callable[[Packet], bool]) -> Evidence:
    return replace(evidence, packets=[p for p in evidence.packets or () if keep(p)])


def test_a_direct_pass_whose_packets_are_not_there_is_found(recorded: Path) -> None:
    found = {}
    for name, evidence in passes(recorded, Outcome.DIRECT):
        planted = without(evidence, lambda packet: packet.node in ("a", "b"))
        found[name] = list(odds(planted))
    assert len(found) >= 3
    assert all(found.values()), found


def test_a_pass_that_is_turned_round_is_found(recorded: Path) -> None:
    """Direct for a relay, and none for what went direct."""
    found = {
        name: list(odds(planted))
        for measured, was in ((Outcome.DIRECT, Outcome.RELAYED), (Outcome.NONE, Outcome.DIRECT))
        for name, evidence in passes(recorded, was)
        for predicted in [replace(evidence.prediction, outcome=measured)]
        for planted in [replace(evidence, measured=measured, prediction=predicted)]
    }
    assert len(found) >= 6
    assert all(found.values()), found


def test_a_fail_beside_a_harness_at_fault_is_found(recorded: Path) -> None:
    found = {}
    for file in sorted(recorded.rglob("cell.json")):
        evidence = load_evidence(file.parent)
        if evidence.judgement is Judgement.INCONCLUSIVE and evidence.faults:
            found[file.parent.name] = list(odds(replace(evidence, judgement=Judgement.FAIL)))
    assert len(found) >= 3
    assert all(found.values()), found


@pytest.mark.parametrize("outcome", Outcome)
def test_no_outcome_that_is_planted_passes_without_being_found(
    recorded: Path, outcome: Outcome
) -> None:
    """It is inconclusive as `testbed.run.explaining` leaves it, or the journeys deny it."""
    tried = 0
    for was in Outcome:
        for name, evidence in passes(recorded, was):
            as_predicted = replace(evidence.prediction, outcome=outcome)
            planted = replace(evidence, measured=outcome, prediction=as_predicted)
            after, verdict = settled(planted)
            tried += 1
            if outcome is was:
                assert (after, verdict.judgement) == (planted, Judgement.PASS), name
            else:
                assert verdict.judgement is not Judgement.PASS or list(odds(after)), name
    assert tried >= 10


def test_no_run_passes_beside_an_explainer_that_fails(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("it does not work")

    monkeypatch.setattr(explaining, "explain", broken)
    _, evidence = next(passes(recorded, Outcome.DIRECT))
    account = WireAccount.of(evidence)
    why, after, verdict = explaining.explained(evidence, account, verdict_of(evidence), tmp_path)
    assert CRASH in sentence(why.headline)
    assert "in broken" in (tmp_path / CRASH).read_text()
    assert (verdict.judgement, why.cause) == (Judgement.INCONCLUSIVE, Cause.HARNESS_FAULT)
    assert after.faults == (Contradicted(Clash.UNEXPLAINED, None),)
    failed = replace(evidence, judgement=Judgement.FAIL)
    _, _, verdict = explaining.explained(failed, account, verdict_of(failed), NOWHERE)
    assert verdict.judgement is Judgement.FAIL


def test_the_explainer_is_the_one_that_is_asked() -> None:
    assert vars(explaining)["explain"] is explainer.explain
