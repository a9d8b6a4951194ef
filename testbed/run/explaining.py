"""The explanation of a run, held against its verdict."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from testbed.evidence.account import WireAccount
from testbed.explain.explainer import explain
from testbed.model.explanation import Cause, Diagram, Evidence, Explanation, Wrong
from testbed.model.judgement import Verdict
from testbed.model.statement.lacks import Explainer
from testbed.model.statement.runs import ExplainerFailed
from testbed.verdict.agreement import contradiction, distrusted
from testbed.words.explanations import to_json


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
        if fault := contradiction(verdict, explanation):
            verdict = distrusted(verdict, fault)
            faults = (*evidence.faults, fault)
            evidence = replace(evidence, judgement=verdict.judgement, faults=faults)
            explanation = explain(evidence, account)
        to_json(explanation)
    except Exception as error:
        explanation = _unexplained(evidence, error)
    return explanation, evidence, verdict


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
