"""The explanation of a run, held against its verdict."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from testbed.evidence.account import WireAccount
from testbed.explain.explainer import explain
from testbed.files import json_text
from testbed.model.explanation import Cause, Diagram, Evidence, Explanation, Wrong
from testbed.model.fault import Clash, Contradicted, Fault
from testbed.model.judgement import Verdict
from testbed.model.result import Result, Why
from testbed.model.statement.lacks import Explainer
from testbed.model.statement.runs import ExplainerFailed
from testbed.model.verdict import Judgement
from testbed.run.crash import kept
from testbed.studies.base import EXPLANATION, RESULT, C, Study
from testbed.studies.kept import CASE, account_of
from testbed.verdict.agreement import contradiction, distrusted
from testbed.words.explanations import sentence, to_json

MOST_PACKETS = 20_000  # up to which a case that passed is explained without being asked


def explained(
    evidence: Evidence, account: WireAccount, verdict: Verdict, folder: Path
) -> tuple[Explanation, Evidence, Verdict]:
    """Why, with the evidence and the verdict that agree with it; ``folder`` is the cell's.

    Where the explanation denies ``verdict``, neither is believed: that is a fault of the
    harness, the verdict is INCONCLUSIVE, and the explanation is made again.  An explainer
    that fails finds nothing: no run passes beside that.
    """
    try:
        explanation = explain(evidence, account)
        expected = evidence.prediction
        by_chance = expected.chances is not None and not expected.race
        if fault := contradiction(verdict, explanation, by_chance=by_chance):
            evidence, verdict = _doubted(evidence, verdict, fault)
            explanation = explain(evidence, account)
        to_json(explanation)
    except Exception as error:
        if verdict.judgement is Judgement.PASS:
            fault = Contradicted(Clash.UNEXPLAINED, None)
            evidence, verdict = _doubted(evidence, verdict, fault)
        explanation = _unexplained(evidence, _failed(error, folder))
    return explanation, evidence, verdict


def _doubted(evidence: Evidence, verdict: Verdict, fault: Fault) -> tuple[Evidence, Verdict]:
    verdict = distrusted(verdict, fault)
    faults = (*evidence.faults, fault)
    return replace(evidence, judgement=verdict.judgement, faults=faults), verdict


def explained_case(study: Study[C], result: Result, folder: Path) -> Result:
    """``result`` with the short form of its explanation; the folder gets both in full.

    A cell has an explanation of its own already.  An explainer that fails is noted in the result.
    """
    if not (folder / CASE).exists():
        return result
    if result.judgement is not Judgement.PASS or result.packets <= MOST_PACKETS:
        try:
            why = study.explain(result, account_of(folder))
            write_json(folder / EXPLANATION, to_json(why))
            short = Why(
                cause=why.cause, node=why.node, headline=sentence(why.headline), wrong=why.wrong
            )
            result = result.model_copy(update={"explanation": short})
        except Exception as error:
            failed = sentence(_failed(error, folder))
            result = result.model_copy(update={"notes": (*result.notes, failed)})
    write_json(folder / RESULT, result.to_json())
    return result


def _failed(error: Exception, folder: Path) -> ExplainerFailed:
    return ExplainerFailed(type(error).__name__, str(error), kept(error, folder))


def _unexplained(evidence: Evidence, failed: ExplainerFailed) -> Explanation:
    """What stands in for an explanation when the explainer itself broke."""
    return Explanation(
        name=evidence.name,
        mechanism=evidence.technique.name,
        measured=evidence.measured,
        predicted=evidence.prediction.outcome,
        judgement=evidence.judgement,
        cause=Cause.HARNESS_FAULT if evidence.faults else Cause.UNKNOWN,
        node=None,
        headline=failed,
        story=(),
        decisive=(),
        wrong=Wrong.UNDECIDED,
        wrong_why=None,
        missing=(Explainer(),),
        diagram=Diagram((), ()),
    )


def write_json(path: Path, value: Any) -> None:
    """As a cell's folder has it; OSError."""
    path.write_text(json_text(value), encoding="utf-8")
