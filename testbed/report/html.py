"""A run as one HTML file that opens from disk and asks no network for anything.

The rows are in the page as JSON.  What their folders hold (explanation, diagram, events)
is packed beside them in chunks, deflated, of which a reader opens the one it needs.
"""

import base64
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeGuard
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from testbed import foreign
from testbed.files import write_text
from testbed.model.result import Document, Result
from testbed.model.verdict import Judgement
from testbed.report import rates
from testbed.report.pictures import picture_of
from testbed.report.rungs import HEAD, summaries
from testbed.stacks.registry import ADAPTERS

PAGE = "report.html"
PUNCH = "punch"  # the study that has grids of dialers and listeners
CHUNK = 24  # cells whose details are packed together: alike, so they pack well
BUDGET = 8_000_000  # bytes of packed details, some 5,000 cells; what differs comes first
EVENTS = 80  # of a cell, at most; what a long run says more is in its folder
EVENT_TEXT = 400  # characters of one
MESSAGES = 400  # of a diagram

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("data.js", "diagram.js", "panel.js", "grid.js", "filters.js", "address.js", "main.js")
_CITED = ("number", "vantage", "outgoing", "protocol", "source", "destination")
_TOLD = ("headline", "story", "decisive", "wrong", "wrong_why", "missing", "diagram")
_SAID = {"reason", "findings", "packets", "seconds", "up_ms", "connect_ms", "folder"}


def write_html(path: Path, document: Document) -> None:
    """Write ``document`` (as in results.json) and its cells' folders as a page at ``path``.

    A folder without ``explanation.json`` gives a row without one.  Links to captures are
    relative to the page, so both can be moved together.  TestbedError where the disk
    does not take it.
    """
    write_text(path, page(document, path.parent))


def page(document: Document, beside: Path) -> str:
    """The text of the page, for a file in the folder ``beside``."""
    rows = document.results
    chunks, places = _packed(rows, beside)
    axes = _axes(rows)
    data = {
        "counts": document.summary.model_dump(mode="json"),
        "run": _run(document),
        "facts": document.facts,
        "profiles": document.profiles,
        "chunk": CHUNK,
        "rows": [_entry(row, places.get(row.name), axes) for row in rows],
    }
    script = "\n".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    script = f"(() => {{\n'use strict';\n{script}\n}})();\n"
    picture = picture_of(document)
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8") + picture.style
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            script=script,
            style=style,
            script_hash=_hash(script),
            style_hash=_hash(style),
            data=_embedded(data),
            chunks=chunks,
            study=document.run.study,
            head=picture.head(document) if picture.head else "",
            punched=any(row.study == PUNCH for row in rows) or not rows,
            ladder_head=HEAD,
            ladder=list(summaries(rows)),
            rates_head=rates.HEAD,
            rates=[(rates.words(seen), seen.agrees or not seen.sampled) for seen in document.rates],
        )
    )


def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, autoescape=True
    )


def _run(document: Document) -> dict[str, Any]:
    """What the head says of the run."""
    run = document.run
    return {"date": run.date, "command": run.command, "seed": run.seed, "version": run.version}


def _embedded(value: Any) -> str:
    """JSON that no text in it can end the element or open a comment of: no ``<`` is left."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _hash(text: str) -> str:
    """As Content-Security-Policy names the one script that may run."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _entry(row: Result, place: int | None, axes: Sequence[str]) -> dict[str, Any]:
    """What the grid and the filters need of a row."""
    known = ADAPTERS.get(re.split("[+@]", row.stack)[0])  # all speak the same
    why = row.explanation
    return {
        "name": row.name,
        "study": row.study,
        **_place(row, axes),
        "peer": row.stack or row.study,
        "transport": known.transport if known else None,
        "profiles": row.profiles,
        "hosts": row.hosts,
        "topology": row.labels.get("topology", ""),
        "mode": row.mode,
        "repeat": row.repeat,
        "judgement": row.judgement.value,
        "measured": row.measured,
        "predicted": row.predicted,
        "cause": why.cause.value if why else None,
        "node": why.node if why else None,
        "headline": (why.headline if why else "") or row.reason,
        "place": place,
    }


def _axes(rows: Sequence[Result]) -> list[str]:
    """Of a study without dialer and listener: the labels by which cases are told apart.

    The first two, and where these are not enough all that differ besides.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.labels))
    two = [*names, "study", "case"][:2]
    places = {row.group: tuple(_label(row, name) for name in two) for row in rows}
    if len(set(places.values())) == len(places):
        return two
    return [*two, *(one for one in names[2:] if len({_label(row, one) for row in rows}) > 1)]


def _label(row: Result, name: str) -> str:
    return row.labels.get(name, {"study": row.study, "case": row.group}.get(name, ""))


def _place(row: Result, axes: Sequence[str]) -> dict[str, Any]:
    """The line and the column of a case, named."""
    if row.study == PUNCH:
        return {}
    side, head, *more = axes
    line = (side, *more)
    words = ", ".join(_label(row, name) for name in line)
    return {"side": (", ".join(line), words), "head": (head, _label(row, head))}


def _packed(rows: Sequence[Result], beside: Path) -> tuple[list[str], dict[str, int]]:
    """The chunks as Base64, and where in them each row is, by name."""
    ordered = sorted(rows, key=lambda row: (row.judgement is Judgement.PASS, row.repeat))
    chunks: list[str] = []
    places: dict[str, int] = {}
    size = 0
    for start in range(0, len(ordered), CHUNK):
        some = ordered[start : start + CHUNK]
        text = json.dumps([_details(row, beside) for row in some], separators=(",", ":"))
        packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
        size += len(packed)
        if size > BUDGET:
            break
        chunks.append(packed)
        places |= {row.name: start + n for n, row in enumerate(some)}
    return chunks, places


def _details(row: Result, beside: Path) -> dict[str, Any]:
    """What the panel shows of a row beyond its entry."""
    named = Path(row.folder)
    folder = named if _is_of(row, named, beside) else Path(os.devnull)  # in which is nothing
    events, more = _events(folder / "events.jsonl", _clocks(folder / "run.json"))
    capture = named / "capture.pcapng"  # to which a link leads, and no more
    return {
        **row.model_dump(mode="json", include=_SAID),
        "rung": asdict(row.rung) if row.rung else None,
        "details": None if row.study == PUNCH else row.details.model_dump(mode="json"),
        "earlier": [tried.reason for tried in row.earlier_tries],
        "explanation": _explanation(folder / "explanation.json"),
        "events": events,
        "more_events": more,
        "capture": _link(capture, beside) if capture.exists() else None,
    }


def _is_of(row: Result, folder: Path, beside: Path) -> bool:
    """Whether ``folder`` is the case's: a run's own, or, as in a merged one, by what it says.

    What results name outside of themselves is not shown to whoever reads the page.
    """
    if folder.resolve().is_relative_to(beside.resolve()):
        return True
    told = _read(folder / "result.json")
    return isinstance(told, dict) and told.get("name") == row.name


def _clocks(path: Path) -> tuple[int, int] | None:
    """The common start, and what to add to the peers' clock; None where that is not known."""
    told = _read(path)
    if not isinstance(told, dict):
        return None
    start, clock = (told.get(key) for key in ("start_ns", "clock_ns"))
    return (start, clock) if _is_time(start) and _is_time(clock) else None


def _is_time(value: Any) -> TypeGuard[int]:
    return type(value) is int and abs(value) <= foreign.LATEST


def _link(path: Path, beside: Path) -> str:
    """``path`` as a URL relative to the folder of the page."""
    return quote(Path(os.path.relpath(path.absolute(), beside.absolute())).as_posix())


def _read(path: Path) -> Any:
    """A JSON file; None where there is none or it is damaged."""
    try:
        return json.loads(foreign.read_text(path))
    except (OSError, ValueError, RecursionError):
        return None


def _explanation(path: Path) -> dict[str, Any] | None:
    """``explanation.json`` without what the page has no use for; None as in `_read`."""
    value = _read(path)
    try:
        lines = [value["wrong_why"]] if value["wrong_why"] else []
        for line in [*value["story"], *lines]:
            line["cites"] = [_citation(cite) for cite in line["cites"]]
        value["decisive"] = [_citation(cite) for cite in value["decisive"]]
        diagram = value["diagram"]
        diagram["omitted"] += len(diagram["messages"][MESSAGES:])
        del diagram["messages"][MESSAGES:]
        return {key: value[key] for key in _TOLD}
    except (KeyError, TypeError, AttributeError):
        return None  # of another version, or damaged


def _citation(cite: Mapping[str, Any]) -> list[Any]:
    return [cite[key] for key in _CITED]


def _events(path: Path, clocks: tuple[int, int] | None) -> tuple[list[list[Any]], int]:
    """Peer, milliseconds since the common start (or the first event), event, the rest.

    The second value is how many more there are.
    """
    said = sorted(_said(path), key=lambda event: event["at"])
    if not said:
        return [], 0
    zero = said[0]["at"] if clocks is None else clocks[0] - clocks[1]
    events = []
    for event in said[:EVENTS]:
        rest = {k: v for k, v in event.items() if k not in ("peer", "at", "event")}
        text = json.dumps(rest, separators=(",", ":")) if rest else ""
        if len(text) > EVENT_TEXT:
            text = text[:EVENT_TEXT] + "..."
        events.append([event["peer"], round((event["at"] - zero) / 1e6, 1), event["event"], text])
    return events, len(said) - len(events)


def _said(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = foreign.read_text(path)
    except (OSError, ValueError):
        return
    for line in text.splitlines():
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and _is_time(event.get("at")):
            yield {"peer": "", "event": ""} | event
