"""No explanation of a recorded cell changes unnoticed, nor a statement of its story.

``explanations.json`` has a digest of what is stated of each cell: as it was recorded, as the judge
might have read it, and with a part of the evidence gone.  Where a change is meant, this file run
by Python writes that one anew.  The words are not in it: rewording changes nothing.
"""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from digests import digest
from withheld import patient, without

from testbed.evidence.account import WireAccount
from testbed.explain.explainer import explain
from testbed.model.explanation import Evidence
from testbed.model.outcome import Outcome
from testbed.model.punctuality import UNSEEN
from testbed.model.verdict import Judgement
from testbed.studies.punch.evidence import load_evidence
from testbed.verdict import sanity
from testbed.verdict.rung import read_rung
from testbed.verdict.upgrade import check_relayed, check_upgrade
from testbed.verdict.wire import read_path

HERE = Path(__file__).parent
ARCHIVE = HERE / "captures" / "causes.tar.xz"
FILE = HERE / "explanations.json"
LARGE = 1000  # packets: of such a cell no more is asked than why it ended


@cache
def cells() -> dict[str, Evidence]:
    """The recorded cells by name."""
    with TemporaryDirectory() as folder, tarfile.open(ARCHIVE) as tar:
        for member in tar:
            target, content = Path(folder) / member.name, tar.extractfile(member)
            assert content is not None
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.read())
        names = sorted(one.name for one in Path(folder).iterdir() if one.is_dir())
        return {name: patient(load_evidence(Path(folder) / name)) for name in names}


def stated(evidence: Evidence) -> list[Any]:
    """All that an explanation states, but for the diagram."""
    found = explain(evidence)
    return [
        found.cause,
        found.node,
        found.headline,
        found.story,
        found.decisive,
        found.wrong,
        found.wrong_why,
        found.missing,
    ]


def variants(evidence: Evidence) -> Iterator[tuple[str, Evidence]]:
    """The cell as it was, and as it might have been judged and recorded."""
    yield "recorded", evidence
    if len(evidence.packets or ()) > LARGE:
        return
    sound = replace(evidence, faults=(), findings=())
    for outcome in Outcome:
        yield f"judged {outcome}", replace(sound, measured=outcome, judgement=Judgement.FAIL)
    yield "without events", replace(sound, events=None)
    yield "without flows", replace(sound, flows=None, judgement=Judgement.FAIL)
    yield "without counters", replace(sound, drops=None, judgement=Judgement.FAIL)
    for node in sorted({vantage.node for vantage in evidence.plan.vantages}):
        yield f"without {node}", without(sound, node, counted=False)


def verdict(evidence: Evidence) -> list[Any]:
    """All that the judge reads off the packets."""
    account, ends = WireAccount.of(evidence), (evidence.dialer, evidence.listener)
    reading = read_path(account, *ends)
    return [
        reading,
        check_upgrade(account, *ends),
        check_relayed(account, *ends),
        [read_rung(account, ends, outcome) for outcome in Outcome],
        sanity.crossed(account, *ends),
        [one.fault for one in sanity.late_punches(account, *ends, UNSEEN)],
    ]


def kept(name: str) -> dict[str, str]:
    """What is kept of the cell ``name``."""
    evidence = cells()[name]
    found = {how: digest(stated(one)) for how, one in variants(evidence)}
    return found | {"verdict": digest(verdict(evidence))}


KEPT: dict[str, dict[str, str]] = (
    json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
)


@pytest.mark.parametrize("name", KEPT)
def test_what_is_stated_of_a_cell_stays(name: str) -> None:
    assert kept(name) == KEPT[name]


def test_no_cell_is_left_out() -> None:
    assert set(cells()) == set(KEPT)


if __name__ == "__main__":
    found = {name: kept(name) for name in cells()}
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
