"""Results made by hand, as a matrix would have them."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from testbed.model.record import RunRecord
from testbed.model.result import Document, Result
from testbed.report.files import document as made

RUN = RunRecord("matrix", "testbed matrix --seed 7", "2026-11-29T07:40:58+00:00", 7, "0.2.0")
WHY = {"cause": "filter_closed", "node": "nat-b", "headline": "It was closed.", "wrong": "nat"}


def record(group: str = "ice/full-cone--symmetric", repeat: int = 0, **changes: Any) -> Any:
    """The JSON value of a cell that passed, with ``changes``; labels by their own names."""
    stack, _, pair = group.rpartition("/")
    nats, _, mode = pair.partition(".")
    labels = {"stack": stack, "topology": "two-homes", "mode": mode or "punch"}
    value = {
        "study": "punch",
        "name": f"{group}/{repeat}",
        "group": group,
        "labels": labels | {key: changes.pop(key) for key in labels if key in changes},
        "profiles": nats.split("--"),
        "repeat": repeat,
        "judgement": "pass",
        "measured": "direct",
        "predicted": "direct",
        "reason": "because",
        "findings": [],
        "finding_values": [],
        "notes": [],
        "packets_cited": [],
        "packets": 9,
        "seconds": 1.0,
        "peers_s": 0.5,
        "up_ms": 5.0,
        "connect_ms": 40.0,
        "folder": f"out/{group}/{repeat}",
        "late": False,
        "earlier_tries": [],
        "explanation": None,
        "details": {"study": "punch", "rung": changes.pop("rung", None)},
    }
    return value | changes


def result(*words: Any, **changes: Any) -> Result:
    """A cell that passed, with ``changes`` (`record`); no name is refused."""
    names = [key for key in ("name", "group", "folder") if key in changes]
    odd: dict[str, Any] = {key: changes.pop(key) for key in names}
    text = json.dumps(record(*words, **changes))
    return Result.model_validate_json(text).model_copy(update=odd)


def document(results: Sequence[Result], facts: Mapping[str, str] | None = None) -> Document:
    """The run that gave ``results``."""
    return made(results, {"kernel": "6.1"} if facts is None else facts, RUN)


def document_json(records: Sequence[Any], facts: Mapping[str, str] | None = None) -> Any:
    """The value of a results.json with ``records``, whether they are sound or not."""
    value = document([], facts).to_json()
    return value | {"asked": len(records), "results": list(records)}
