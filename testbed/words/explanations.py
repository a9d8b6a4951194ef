"""Sentences of explanations, and an explanation as ``explanation.json`` and the reports have it."""

import importlib
import pkgutil
from dataclasses import fields
from typing import Any

from testbed.model.explanation import Citation, Diagram, Explanation, Line
from testbed.model.statement import At, Both, Statement, Stop
from testbed.model.statement.claims import Foretold
from testbed.model.trace import TraceStep
from testbed.words import statements
from testbed.words.statements import claims, filters
from testbed.words.statements.text import Words

_PARTS: list[Words] = [
    importlib.import_module(f"{statements.__name__}.{one.name}").WORDS
    for one in pkgutil.iter_modules(statements.__path__)
    if one.name != "text"
]
WORDS: Words = {
    At: "{what}, at {at_ms:.1f} ms",
    Both: "{first}; and {second}",
    **{kind: words for part in _PARTS for kind, words in part.items()},
}


def sentence(fact: Statement) -> str:
    """What is stated."""
    words = WORDS[type(fact)]
    if callable(words):
        return words(fact)
    return words.format_map({one.name: _shown(getattr(fact, one.name)) for one in fields(fact)})


def _shown(value: object) -> object:
    """A field of a statement, as it stands in the sentence."""
    match value:
        case Statement():
            return sentence(value)
        case TraceStep() | Foretold():
            return claims.predicted(value)
        case Stop():
            return filters.STOPS[value]
        case tuple():
            between = "; " if any(isinstance(one, Statement) for one in value) else ", "
            return between.join(str(_shown(one)) for one in value)
    return value


def to_json(explanation: Explanation) -> dict[str, Any]:
    """All of it."""
    return {
        "name": explanation.name,
        "mechanism": explanation.mechanism,
        "measured": explanation.measured,
        "predicted": explanation.predicted,
        "judgement": explanation.judgement.value,
        "cause": explanation.cause.value,
        "node": explanation.node,
        "headline": sentence(explanation.headline),
        "story": [_line(line) for line in explanation.story],
        "decisive": [_citation(c) for c in explanation.decisive],
        "wrong": explanation.wrong.value,
        "wrong_why": _line(explanation.wrong_why) if explanation.wrong_why else None,
        "missing": [sentence(lack) for lack in explanation.missing],
        "diagram": _diagram(explanation.diagram),
    }


def _line(line: Line) -> dict[str, Any]:
    return {"text": sentence(line.fact), "cites": [_citation(c) for c in line.cites]}


def _citation(cite: Citation) -> dict[str, Any]:
    return {
        "number": cite.number,
        "vantage": cite.vantage,
        "outgoing": cite.outgoing,
        "protocol": cite.protocol,
        "source": str(cite.source),
        "destination": str(cite.destination),
        "time_ns": cite.time_ns,
    }


def _diagram(diagram: Diagram) -> dict[str, Any]:
    return {
        "columns": list(diagram.columns),
        "omitted": diagram.omitted,
        "messages": [
            {
                "time_ms": round(message.time_ms, 3),
                "label": message.label,
                "count": message.count,
                "decisive": message.decisive,
                "segments": [
                    {
                        "start": part.start,
                        "to": part.to,
                        "source": str(part.source),
                        "destination": str(part.destination),
                        "end": part.end.value,
                        "packets": list(part.packets),
                        "note": sentence(part.note) if part.note else "",
                    }
                    for part in message.segments
                ],
            }
            for message in diagram.messages
        ],
    }
