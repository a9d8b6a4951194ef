"""The explainer on recorded cells, each of which was broken on purpose: no lab is needed.

`tests/conformance/record_causes.py` recorded them.  `tests/conformance/test_explain_corpus.py`
makes the same claims of cells that it runs.
"""

import json
import tarfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from withheld import patient, without

from testbed.explain.explainer import explain
from testbed.model.contract import Failed
from testbed.model.explanation import Cause, Citation, Evidence
from testbed.studies.punch.evidence import load_evidence

LARGE = 1000  # packets: `tests/conformance` reads these parts as well
ARCHIVE = Path(__file__).parent / "captures" / "causes.tar.xz"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("causes")
    with tarfile.open(ARCHIVE) as tar:
        for member in tar:  # `extractall` has its filter only since Python 3.11.4
            target, content = folder / member.name, tar.extractfile(member)
            assert content is not None
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read())
    return folder


@cache
def loaded(folder: Path) -> Evidence:
    return patient(load_evidence(folder))


@pytest.fixture
def evidence(name: str, unpacked: Path) -> Evidence:
    """What was recorded of the cell ``name``."""
    return loaded(unpacked / name)


def known() -> dict[str, dict[str, object]]:
    """Of each cell, by name: its cause and node by construction, and where it is to be seen."""
    with tarfile.open(ARCHIVE) as tar:
        file = tar.extractfile("known.json")
        assert file is not None
        found: dict[str, dict[str, object]] = json.load(file)
        return found


KNOWN = known()
every_cell = pytest.mark.parametrize("name", KNOWN)


def test_every_cause_is_on_record() -> None:
    assert {one["cause"] for one in KNOWN.values()} == set(Cause) - {Cause.UNKNOWN}


@every_cell
def test_the_cause_is_named(name: str, evidence: Evidence) -> None:
    found = explain(evidence)
    assert found.cause.value == KNOWN[name]["cause"]
    assert KNOWN[name]["node"] in (None, found.node)


def said_otherwise(evidence: Evidence, **changes: object) -> Evidence:
    """``changes`` made to whatever a peer says of its failure."""
    events = tuple(
        (node, event.model_copy(update=changes) if isinstance(event, Failed) else event)
        for node, event in evidence.events or ()
    )
    return replace(evidence, events=events)


def test_that_a_relay_refused_is_known_by_the_detail_and_by_no_words(unpacked: Path) -> None:
    refused = {Cause.RELAY_REFUSED.value, Cause.LEASE_EXPIRED.value}
    evidence = {name: loaded(unpacked / name) for name in KNOWN}
    cells = [
        name
        for name, whole in evidence.items()
        if any(isinstance(e, Failed) and e.detail for _, e in whole.events or ())
    ]
    assert {KNOWN[name]["cause"] for name in cells} == refused
    for name in cells:
        reworded = said_otherwise(evidence[name], reason="it would not have us")
        assert explain(reworded).cause.value == KNOWN[name]["cause"]
        silent = said_otherwise(evidence[name], detail=None)
        assert explain(silent).cause.value not in refused, name


@every_cell
@pytest.mark.parametrize("counted", [True, False])
def test_no_cause_is_named_without_its_evidence(
    name: str, counted: bool, evidence: Evidence
) -> None:
    nodes = KNOWN[name]["seen_at"]
    assert isinstance(nodes, list)
    found = explain(without(evidence, *nodes, counted=counted))
    assert found.cause is Cause.UNKNOWN
    assert found.missing


@every_cell
def test_with_a_part_of_the_evidence_gone_no_other_cause_is_named(evidence: Evidence) -> None:
    if evidence.faults or len(evidence.packets or ()) > LARGE:
        return  # faults are the cause, and are gone with any part
    said = explain(evidence).cause
    for node in {vantage.node for vantage in evidence.plan.vantages}:
        found = explain(without(evidence, node, counted=False))
        assert found.cause in (said, Cause.UNKNOWN), node
        assert (found.cause is Cause.UNKNOWN) == bool(found.missing), node


@every_cell
def test_each_packet_that_is_cited_is_in_the_capture_as_it_is_cited(evidence: Evidence) -> None:
    packets = {packet.number: packet for packet in evidence.packets or ()}
    for cite in explain(evidence).cites:
        assert cite == Citation.of(packets[cite.number])
