"""The verdict and the explanation of a run agree, or neither is believed."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from test_explain import Run, symmetric
from test_facts_decide import cases
from ways import explained as by_hand

from testbed.evidence.account import WireAccount
from testbed.explain.explainer import explain
from testbed.model.explanation import Cause, Diagram, Evidence, Explanation, Wrong
from testbed.model.fault import CaptureLost, Clash, Contradicted
from testbed.model.judgement import Verdict
from testbed.model.outcome import Outcome
from testbed.model.path import NothingEchoed
from testbed.model.reason import Lost, Silence
from testbed.model.verdict import AsPredicted, Judgement, Otherwise, Troubled
from testbed.run import explaining
from testbed.verdict.agreement import THROUGH, contradiction, distrusted

REASON = Lost((), Silence.NONE_REACHED)
LOST = CaptureLost("nat-a:wan", 3)
GROUNDS: dict[Judgement, Any] = {
    Judgement.PASS: AsPredicted(REASON),
    Judgement.FAIL: Otherwise(REASON, NothingEchoed()),
    Judgement.INCONCLUSIVE: Troubled((LOST,)),
}


NOWHERE = Path("/dev/null/nowhere")  # a folder that cannot be made


def verdict_of(evidence: Evidence) -> Verdict:
    because = GROUNDS[evidence.judgement]
    if evidence.judgement is Judgement.INCONCLUSIVE:
        because = Troubled(evidence.faults)
    predicted = evidence.prediction.outcome
    return Verdict(evidence.judgement, evidence.measured, predicted, because, evidence.findings)


def settled(evidence: Evidence) -> tuple[Explanation, Evidence, Verdict]:
    """As `testbed.run.cell` joins the two."""
    account = WireAccount.of(evidence)
    return explaining.explained(evidence, account, verdict_of(evidence), NOWHERE)


def direct() -> Run:
    run = Run("port-restricted", "port-restricted")
    run.learns("a", 4001)
    run.learns("b", 4001)
    run.sends(0, "a", 4001, run.at("nat-b", 4001), 4001, inside="b", payload=b"from a")
    run.sends(-5, "b", 4001, run.at("nat-a", 4001), 4001, inside="a", payload=b"from b")
    return run


def runs() -> dict[str, Evidence]:
    """Runs with and without a way through, each with every judgement; and damaged ones."""
    found = dict(cases())
    for name, run in (("closed", symmetric()), ("direct", direct())):
        for judgement, measured in product(Judgement, Outcome):
            faults = (LOST,) if judgement is Judgement.INCONCLUSIVE else ()
            whole = replace(run.evidence(measured), judgement=judgement, faults=faults)
            found[f"{name} {judgement} {measured}"] = whole
            found[f"{name} {judgement} {measured}, no packets"] = replace(whole, packets=None)
            found[f"{name} {judgement} {measured}, nothing said"] = replace(whole, events=None)
    return found


RUNS = runs()


@pytest.mark.parametrize("name", RUNS)
def test_whatever_a_run_shows_its_verdict_and_its_explanation_agree(name: str) -> None:
    explanation, evidence, verdict = settled(RUNS[name])
    assert contradiction(verdict, explanation) is None
    assert verdict.judgement is evidence.judgement is explanation.judgement
    blamed = explanation.cause is Cause.HARNESS_FAULT or explanation.wrong is Wrong.HARNESS
    if blamed:
        assert verdict.judgement is Judgement.INCONCLUSIVE
    if verdict.judgement is Judgement.PASS and verdict.measured is Outcome.DIRECT:
        assert explanation.cause in THROUGH
    if verdict.judgement is not RUNS[name].judgement:
        assert any(isinstance(fault, Contradicted) for fault in evidence.faults)


def test_a_run_that_agrees_is_left_as_it_is() -> None:
    for run, measured in ((direct(), Outcome.DIRECT), (symmetric(), Outcome.NONE)):
        whole = run.evidence(measured)
        assert whole.judgement is Judgement.PASS
        _, evidence, verdict = settled(whole)
        assert evidence is whole
        assert verdict == verdict_of(whole)


def test_a_direct_verdict_of_which_no_packet_arrived_is_no_pass() -> None:
    """The disagreement that was seen: PASS beside "no packet from a that came to b"."""
    planted = replace(symmetric().evidence(Outcome.DIRECT), judgement=Judgement.PASS)
    explanation, evidence, verdict = settled(planted)
    fault = Contradicted(Clash.WAY_UNKNOWN, None)
    assert verdict.judgement is Judgement.INCONCLUSIVE
    assert verdict.because == Troubled((fault,))
    assert evidence.faults == (fault,)
    assert explanation.cause is Cause.HARNESS_FAULT


def told(cause: Cause, wrong: Wrong = Wrong.NOBODY) -> Explanation:
    return by_hand(Diagram((), ()), [], cause=cause, wrong=wrong, node="nat-b")


def judged(judgement: Judgement, measured: Outcome) -> Verdict:
    return Verdict(judgement, measured, measured, GROUNDS[judgement])


@pytest.mark.parametrize(
    ("verdict", "explanation", "clash"),
    [
        # The other that was seen: FAIL beside "the harness is at fault".
        (judged(Judgement.FAIL, Outcome.NONE), told(Cause.HARNESS_FAULT), Clash.HARNESS_BLAMED),
        (judged(Judgement.PASS, Outcome.NONE), told(Cause.HARNESS_FAULT), Clash.HARNESS_BLAMED),
        (
            judged(Judgement.FAIL, Outcome.NONE),
            told(Cause.LOST_ON_LINK, Wrong.HARNESS),
            Clash.HARNESS_BLAMED,
        ),
        (judged(Judgement.INCONCLUSIVE, Outcome.NONE), told(Cause.FILTER_CLOSED), Clash.UNTROUBLED),
        (judged(Judgement.INCONCLUSIVE, Outcome.NONE), told(Cause.PEER_FAILED), None),
        (
            judged(Judgement.INCONCLUSIVE, Outcome.NONE),
            told(Cause.LOST_ON_LINK, Wrong.HARNESS),
            None,
        ),
        (judged(Judgement.PASS, Outcome.DIRECT), told(Cause.UNKNOWN), Clash.WAY_UNKNOWN),
        (judged(Judgement.PASS, Outcome.DIRECT), told(Cause.FILTER_CLOSED), Clash.WAY_UNKNOWN),
        (judged(Judgement.PASS, Outcome.DIRECT), told(Cause.REVERSED), None),
        (judged(Judgement.PASS, Outcome.RELAYED), told(Cause.REVERSED), Clash.WAY_FOUND),
        (judged(Judgement.PASS, Outcome.NONE), told(Cause.UNKNOWN), Clash.UNEXPLAINED),
        (judged(Judgement.PASS, Outcome.RELAYED), told(Cause.UNKNOWN), Clash.UNEXPLAINED),
        (judged(Judgement.FAIL, Outcome.NONE), told(Cause.UNKNOWN), None),
        (judged(Judgement.PASS, Outcome.NONE), told(Cause.LOST_ON_LINK), Clash.HARNESS_BLAMED),
        (judged(Judgement.PASS, Outcome.NONE), told(Cause.PEER_FAILED), Clash.NOT_TRIED),
        (judged(Judgement.PASS, Outcome.NONE), told(Cause.NEVER_SENT), Clash.NOT_TRIED),
        (judged(Judgement.PASS, Outcome.NONE), told(Cause.RELAY_UNREACHABLE), Clash.NOT_TRIED),
        (judged(Judgement.PASS, Outcome.NONE), told(Cause.UDP_BLOCKED), None),
        (
            judged(Judgement.PASS, Outcome.DIRECT),
            told(Cause.FILTER_ADMITS, Wrong.NAT),
            Clash.NAT_DENIED,
        ),
        (judged(Judgement.FAIL, Outcome.DIRECT), told(Cause.UNKNOWN), None),
        (judged(Judgement.FAIL, Outcome.NONE), told(Cause.LOST_ON_LINK, Wrong.NAT), None),
    ],
)
def test_a_disagreement_that_is_planted_is_found(
    verdict: Verdict, explanation: Explanation, clash: Clash | None
) -> None:
    found = contradiction(verdict, explanation)
    assert found == (None if clash is None else Contradicted(clash, "nat-b"))
    if found is None:
        return
    left = distrusted(verdict, found)
    assert left.judgement is Judgement.INCONCLUSIVE
    assert left.measured is verdict.measured
    assert isinstance(left.because, Troubled)
    assert left.because.faults[-1] == found
    if isinstance(verdict.because, Troubled):
        assert left.because.faults[:-1] == verdict.because.faults


def test_what_the_harness_is_blamed_for_stays_the_cause() -> None:
    """A packet lost on a link of ours: inconclusive, and still told as that."""
    run = Run("port-restricted", "port-restricted")
    run.learns("a", 4001)
    run.learns("b", 4001)
    run.sends(0, "a", 4001, run.at("nat-b", 4001), 4001, inside="b")
    run.sends(3000, "b", 4001, run.at("server", 3478), 4001)
    run.packets = [
        p
        for p in run.packets
        if not (p.payload == b"probe" and p.vantage in ("nat-b:wan", "nat-b:lan", "b:eth0"))
        or (p.outgoing and p.node == "b")
    ]
    whole = replace(run.evidence(Outcome.NONE), judgement=Judgement.FAIL)
    explanation, evidence, verdict = settled(whole)
    assert (explanation.cause, explanation.wrong) == (Cause.LOST_ON_LINK, Wrong.HARNESS)
    assert verdict.judgement is Judgement.INCONCLUSIVE
    assert evidence.faults == (Contradicted(Clash.HARNESS_BLAMED, "nat-b"),)


def test_an_account_of_other_packets_explains_nothing() -> None:
    whole = symmetric().evidence(Outcome.NONE)
    other = WireAccount.of(replace(whole, packets=[]))
    with pytest.raises(ValueError, match="other packets"):
        explain(whole, other)


def test_who_gives_up_what_got_lost_ends_as_is_foreseen() -> None:
    """Where nothing is by chance, nobody knows then whether there would have been a way."""
    explanation, evidence, verdict = settled(RUNS[f"closed {Judgement.PASS} {Outcome.NONE}"])
    gave_up = replace(explanation, cause=Cause.PEER_FAILED)
    assert contradiction(verdict, gave_up) is not None
    assert contradiction(verdict, gave_up, by_chance=True) is None
    assert evidence.prediction.chances is None
