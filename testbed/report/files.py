"""Results for machines: JSON and JUnit XML."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from testbed.files import write_text
from testbed.report.stability import unstable
from testbed.run.record import RunRecord

if TYPE_CHECKING:  # who only compares results need not load what makes them
    from testbed.run.matrix import Row, Summary

FORMAT = 1
# What XML 1.0, section 2.2, does not take for a character.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(
    rows: Sequence["Row"],
    summary: "Summary",
    facts: Mapping[str, str],
    run: RunRecord,
    shard: Mapping[str, Any] | None = None,
    titles: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The whole run as one JSON value; or one shard of it (`testbed.run.shards.Shard.of_run`).

    ``titles`` are what its profiles are called, by name.
    """
    return {
        "format": FORMAT,
        "run": run.to_json(),
        "facts": dict(facts),
        "profiles": dict(titles or {}),
        "total": summary.total,
        "passed": summary.passed,
        "failed": summary.failed,
        "inconclusive": summary.inconclusive,
        "mixed": list(summary.mixed),
        "retried": summary.retried,
        "certified": summary.certified,
        "exit_code": int(summary.exit_code),
        "unstable": [one.to_json() for one in unstable(rows)],
        **({"shard": dict(shard)} if shard else {}),
        "cells": list(rows),
    }


def printable(text: str) -> str:
    """``text`` without control characters and lone surrogates, which XML 1.0 forbids."""
    return _UNPRINTABLE.sub("", text)


def write_junit(path: Path, rows: Sequence["Row"], summary: "Summary", run: RunRecord) -> None:
    """One test case a cell; a failure's text is its explanation, and where the packets are."""
    suite = ElementTree.Element(
        "testsuite",
        name="testbed matrix",
        tests=str(summary.total),
        failures=str(summary.failed),
        errors=str(summary.inconclusive),
        time=f"{sum(row['seconds'] for row in rows):.3f}",
        timestamp=run.started,
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in run.to_json().items():
        if value is not None:
            told = printable(str(value))
            ElementTree.SubElement(properties, "property", name=f"testbed.{name}", value=told)
    for row in rows:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=printable(row["peer"]),
            name=printable(row["name"]),
            time=f"{row['seconds']:.3f}",
        )
        if row["judgement"] != "pass":
            tag = "failure" if row["judgement"] == "fail" else "error"
            found = row.get("explanation") or {"cause": "unknown", "headline": row["reason"]}
            child = ElementTree.SubElement(
                case, tag, type=printable(found["cause"]), message=printable(_message(row, found))
            )
            child.text = printable("\n".join(_told(row)))
    text = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    write_text(path, text.decode())


def _message(row: "Row", found: Mapping[str, Any]) -> str:
    return f"measured {row['measured']}, predicted {row['predicted']}: {found['headline']}"


def _told(row: "Row") -> Iterator[str]:
    """The explanation in lines, as far as there is one, and the command that shows more."""
    if found := row.get("explanation"):
        place = f" at {found['node']}" if found["node"] else ""
        yield found["headline"]
        yield f"cause: {found['cause']}{place}; wrong: {found['wrong']}"
    yield row["reason"]
    yield from (f"finding: {finding}" for finding in row["findings"])
    if found:
        yield from _story(Path(row["folder"]) / "explanation.json")
    yield f"testbed explain {row['folder']}"


def _story(path: Path) -> Iterator[str]:
    """What a cell's explanation says besides its headline, with the numbers of the packets."""
    try:
        value = json.loads(path.read_bytes())
        told = [_line(line) for line in value["story"]]
        if value["wrong_why"]:
            told.append(f"wrong is {value['wrong']}: {_line(value['wrong_why'])}")
        yield from told + [f"missing: {what}" for what in value["missing"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        yield f"{path} could not be read: {error}"


def _line(line: Mapping[str, Any]) -> str:
    numbers = ", ".join(str(cite["number"]) for cite in line["cites"])
    return f"{line['text']} [packets {numbers}]" if numbers else str(line["text"])
