"""The explainer against cells whose cause is known by construction."""

import re
from collections.abc import Mapping

import pytest
from explain_cases import CASES, NATS, PREDICTIONS
from explain_corpus import corpus
from shared import once
from withheld import without

from testbed.evidence.account import WireAccount
from testbed.explain.conformance import violations
from testbed.explain.explainer import explain
from testbed.explain.scene import Scene
from testbed.model.explanation import Cause, Citation, Evidence, Line, Wrong
from testbed.words import sentence

ALL = {
    **CASES,
    **{f"oracle: {name}": case for name, (case, _) in PREDICTIONS.items()},
    **{f"NAT: {name}": case for name, (case, *_) in NATS.items()},
}
ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+:\d+")
MOMENT = re.compile(r"(?:at|from|to) (-?\d+\.\d) ms")


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Evidence]:
    folder = tmp_path_factory.mktemp("explained")
    return once(tmp_path_factory, "explained", lambda: corpus(folder, ALL))


def test_the_corpus_has_thirty_cells_and_most_of_the_vocabulary() -> None:
    named = {case.cause for case in CASES.values()}
    assert len(CASES) >= 30
    assert set(Cause) - named == {Cause.UNKNOWN}


@pytest.mark.parametrize("name", CASES)
def test_the_cause_is_named(name: str, evidence: Mapping[str, Evidence]) -> None:
    found, case = explain(evidence[name]), CASES[name]
    assert found.cause is case.cause, (found.headline, found.missing, evidence[name].faults)
    if case.node is not None:
        assert found.node == case.node


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("counted", [True, False])
def test_no_cause_is_named_without_its_evidence(
    name: str, counted: bool, evidence: Mapping[str, Evidence]
) -> None:
    case = CASES[name]
    nodes = case.seen_at or (case.node or "nat-b",)
    found = explain(without(evidence[name], *nodes, counted=counted))
    assert found.cause is Cause.UNKNOWN, (found.headline, nodes)
    assert found.missing


def test_with_a_part_of_the_evidence_gone_no_other_cause_is_named(
    evidence: Mapping[str, Evidence],
) -> None:
    for name, whole in evidence.items():
        said = explain(whole).cause
        for node in {vantage.node for vantage in whole.plan.vantages}:
            found = explain(without(whole, node, counted=False))
            if whole.faults:
                continue  # which went with the evidence, and were the cause
            assert found.cause in (said, Cause.UNKNOWN), (name, node, found.headline)
            assert (found.cause is Cause.UNKNOWN) == bool(found.missing), (name, node)


@pytest.mark.parametrize("name", ALL)
def test_every_citation_is_what_the_text_says(name: str, evidence: Mapping[str, Evidence]) -> None:
    read_back(evidence[name])


def read_back(whole: Evidence) -> None:
    """Each packet cited is in the capture as it is cited, and each sentence of its packets."""
    found = explain(whole)
    by_number = {packet.number: packet for packet in whole.packets or ()}
    for cite in found.cites:
        assert cite == Citation.of(by_number[cite.number]), whole.name
    for line in (*found.story, *([found.wrong_why] if found.wrong_why else [])):
        _is_of_its_packets(line, whole)


def _is_of_its_packets(line: Line, whole: Evidence) -> None:
    """Each address and each moment in a sentence is one of a packet that it cites.

    What it says of conntrack is of an event that conntrack told.
    """
    if not line.cites:
        return
    ends = {str(end) for cite in line.cites for end in (cite.source, cite.destination)}
    assert set(ADDRESS.findall(sentence(line.fact))) <= ends, (whole.name, line)
    zero = whole.start_ns
    if zero is None:
        zero = min(packet.time_ns for packet in whole.packets or ())
    of_packets, _, of_conntrack = sentence(line.fact).partition("; its conntrack ")
    for text, seen in ((of_packets, line.cites), (of_conntrack, whole.flows or ())):
        times = {f"{(one.time_ns - zero) / 1e6:.1f}" for one in seen}
        assert set(MOMENT.findall(text)) <= times, (whole.name, line)


# -- who is wrong --------------------------------------------------------------


@pytest.mark.parametrize("name", PREDICTIONS)
def test_a_wrong_rule_of_the_oracle_is_told_by_its_step(
    name: str, evidence: Mapping[str, Evidence]
) -> None:
    case, step = PREDICTIONS[name]
    found = explain(evidence[f"oracle: {name}"])
    assert (found.cause, found.wrong) == (case.cause, Wrong.PREDICTION), found.wrong_why
    assert found.wrong_why is not None
    assert step in sentence(found.wrong_why.fact)
    assert found.wrong_why.cites


@pytest.mark.parametrize("name", NATS)
def test_a_wrong_rule_of_a_nat_is_told_with_packets(
    name: str, evidence: Mapping[str, Evidence]
) -> None:
    case, node, axis = NATS[name]
    whole = evidence[f"NAT: {name}"]
    found = explain(whole)
    assert (found.cause, found.wrong) == (case.cause, Wrong.NAT), (found.headline, found.wrong_why)
    assert found.wrong_why is not None
    assert {cite.vantage.partition(":")[0] for cite in found.wrong_why.cites} == {node}
    assert (node, axis) in {(one.node, one.axis) for one in violations(_scene(whole))}


def test_nats_that_keep_their_profile_are_not_accused(evidence: Mapping[str, Evidence]) -> None:
    for name in CASES:
        whole = evidence[name]
        assert violations(_scene(whole)) == (), name


def _scene(whole: Evidence) -> Scene:
    return Scene(whole, WireAccount.of(whole))
