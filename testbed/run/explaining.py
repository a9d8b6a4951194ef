"""The explanation of a run, held against its verdict."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from testbed.evidence.account import WireAccount
from testbed.explain.explainer import explain
from testbed.model.explanation import Cause, Diagram, Evidence, Explanation, Wrong
from testbed.model.judgement import Verdict
from testbed.model.result import Result, Why
from testbed.model.statement.lacks import Explainer
from testbed.model.statement.runs import ExplainerFailed
from testbed.model.verdict import Judgement
from testbed.studies.base import EXPLANATION, RESULT, C, Study
from testbed.studies.kept import CASE, account_of
from testbed.verdict.agreement import contradiction, distrusted
from testbed.words.explanations import sentence, to_json

MOST_PACKETS = 20_000  # up to which a case that passed is explained without being asked


def explained(
    evidence: Evidence, account: WireAccount, verdict: Verdict
) -> tuple[Explanation, Evidence, Verdict]:
    """Why, with the evidence and the verdict that agree with it.

    Where the explanation denies ``verdict``, neither is believed: that is a fault of the
    harness, the verdict is INCONCLUSIVE, and the explanation is made again.  An explainer
    that fails says nothing, and so spoils no verdict.
    """
    try:
        explanation = explain(evidence, account)
        by_chance = evidence.prediction.chances is not None
        if fault := contradiction(verdict, explanation, by_chance=by_chance):
            verdict = distrusted(verdict, fault)
            faults = (*evidence.faults, fault)
            evidence = replace(evidence, judgement=verdict.judgement, faults=faults)
            explanation = explain(evidence, account)
        to_json(explanation)
    except Exception as error:
        explanation = _unexplained(evidence, error)
    return explanation, evidence, verdict


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
            failed = sentence(ExplainerFailed(type(error).__name__, str(error)))
            result = result.model_copy(update={"notes": (*result.notes, failed)})
    write_json(folder / RESULT, result.to_json())
    return result


def _unexplained(evidence: Evidence, error: Exception) -> Explanation:
    """What stands in for an explanation when the explainer itself broke."""
    return Explanation(
        name=evidence.name,
        mechanism=evidence.technique.name,
        measured=evidence.measured,
        predicted=evidence.prediction.outcome,
        judgement=evidence.judgement,
        cause=Cause.HARNESS_FAULT if evidence.faults else Cause.UNKNOWN,
        node=None,
        headline=ExplainerFailed(type(error).__name__, str(error)),
        story=(),
        decisive=(),
        wrong=Wrong.UNDECIDED,
        wrong_why=None,
        missing=(Explainer(),),
        diagram=Diagram((), ()),
    )


def write_json(path: Path, value: Any) -> None:
    """As a cell's folder has it; OSError."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
