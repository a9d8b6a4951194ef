"""What a verdict and an explanation say of a recorded cell, held together as it is read back."""

from collections.abc import Iterator
from pathlib import Path

from testbed.evidence.account import WireAccount
from testbed.explain.explainer import explain
from testbed.model.explanation import Cause, Evidence, Wrong
from testbed.model.judgement import Verdict
from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement, Recalled
from testbed.studies.punch.evidence import load_evidence
from testbed.verdict.agreement import THROUGH, contradiction
from testbed.verdict.wire import read_path


def recalled(evidence: Evidence) -> Verdict:
    """The verdict that a folder keeps."""
    predicted = evidence.prediction.outcome
    return Verdict(evidence.judgement, evidence.measured, predicted, Recalled(""))


def odds(evidence: Evidence) -> Iterator[str]:
    """How the recording denies what is said of it; nothing where all is well.

    The property in plain conditions, beside `contradiction`, which is one way to hold it.
    """
    account = WireAccount.of(evidence)
    found = explain(evidence, account)
    judgement, measured = evidence.judgement, evidence.measured
    by_chance = evidence.prediction.chances is not None
    passed, sure = judgement is Judgement.PASS, judgement is not Judgement.INCONCLUSIVE
    blamed = found.cause is Cause.HARNESS_FAULT or found.wrong is Wrong.HARNESS
    shown = read_path(account, evidence.dialer, evidence.listener).outcome
    expected = evidence.prediction.beside(measured)
    direct, through = measured is Outcome.DIRECT, found.cause in THROUGH
    clash = contradiction(recalled(evidence), found, by_chance=by_chance)
    table = {
        "it passes, and nobody knows why": passed
        and found.cause is Cause.UNKNOWN
        and not by_chance,
        f"{judgement}, and the harness was in trouble": sure and bool(evidence.faults),
        f"it passes, and {expected} was predicted": passed and expected is not measured,
        f"{judgement}, and the harness is at fault": sure and blamed,
        f"{measured}, by {found.cause}": passed and direct is not through,
        f"it passes, and wrong is {found.wrong}": passed and found.wrong is not Wrong.NOBODY,
        f"{measured}, and whole journeys show {shown}": sure and shown is not measured,
        f"they contradict each other: {clash}": clash is not None,
    }
    yield from (words for words, wrong in table.items() if wrong)


def at_odds(folder: Path) -> dict[str, list[str]]:
    """Folder of a cell, below ``folder`` -> what is wrong with it, if anything is."""
    cells = sorted(file.parent for file in folder.rglob("cell.json"))
    assert cells, f"{folder}: no cell was recorded there"
    told = {str(one.relative_to(folder)): list(odds(load_evidence(one))) for one in cells}
    return {name: wrong for name, wrong in told.items() if wrong}
