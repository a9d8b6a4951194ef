"""The explanation of a run, made without danger to its verdict, and written down."""

import json
from pathlib import Path
from typing import Any

from testbed.evidence.account import WireAccount
from testbed.explain.explainer import explain
from testbed.model.explanation import Cause, Diagram, Evidence, Explanation, Wrong


def explained(evidence: Evidence, account: WireAccount, folder: Path) -> Explanation:
    """Why, also as ``explanation.json``.  An explainer that fails spoils no verdict."""
    try:
        explanation = explain(evidence, account)
        written = explanation.to_json()
    except Exception as error:
        explanation = _unexplained(evidence, error)
        written = explanation.to_json()
    write_json(folder / "explanation.json", written)
    return explanation


def _unexplained(evidence: Evidence, error: Exception) -> Explanation:
    """What stands in for an explanation when the explainer itself broke."""
    return Explanation(
        name=evidence.name,
        mechanism=evidence.technique.name,
        measured=evidence.measured,
        predicted=evidence.prediction.outcome,
        judgement=evidence.judgement,
        cause=Cause.UNKNOWN,
        node=None,
        headline=f"the explainer failed: {type(error).__name__}: {error}",
        story=(),
        decisive=(),
        wrong=Wrong.UNDECIDED,
        wrong_why=None,
        missing=("an explainer that reads this cell",),
        diagram=Diagram((), ()),
    )


def write_json(path: Path, value: Any) -> None:
    """As a cell's folder has it; OSError."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
