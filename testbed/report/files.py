"""Results for machines: JSON and JUnit XML."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from testbed import foreign
from testbed.files import write_text
from testbed.model.record import RunRecord
from testbed.model.result import FORMAT, Document, Identity, Result, ShardPart, rates, summarize
from testbed.model.verdict import Judgement
from testbed.report.stability import unstable

# What XML 1.0, section 2.2, does not take for a character.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(
    results: Sequence[Result],
    facts: Mapping[str, str],
    run: RunRecord,
    *,
    certified: bool = True,
    titles: Mapping[str, str] | None = None,
    identity: Identity | None = None,
    shard: ShardPart | None = None,
    asked: int | None = None,
) -> Document:
    """The whole run as one value, or one shard of it (`testbed.run.shards.Shard.of_run`).

    ``titles`` are what its profiles are called, by name; ``asked`` is the number of cases that
    it was to have, by default as many as there are ``results``.
    """
    summary = summarize(results, certified=certified)
    return Document(
        format=FORMAT,
        run=run,
        facts=dict(facts),
        profiles=dict(titles or {}),
        identity=identity,
        shard=shard,
        asked=len(results) if asked is None else asked,
        summary=summary,
        exit_code=int(summary.exit_code),
        unstable=tuple(one.record() for one in unstable(results)),
        rates=rates(results),
        results=tuple(results),
    )


def printable(text: str) -> str:
    """``text`` without control characters and lone surrogates, which XML 1.0 forbids."""
    return _UNPRINTABLE.sub("", text)


def write_junit(path: Path, made: Document) -> None:
    """One test case a result; a failure's text is its explanation, and where the packets are."""
    rows, run, summary = made.results, made.run, made.summary
    suite = ElementTree.Element(
        "testsuite",
        name=f"testbed {run.study}",
        tests=str(summary.total),
        failures=str(summary.failed),
        errors=str(summary.inconclusive),
        time=f"{sum(row.seconds for row in rows):.3f}",
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
            classname=printable(row.stack or made.run.study),
            name=printable(row.name),
            time=f"{row.seconds:.3f}",
        )
        if row.judgement is not Judgement.PASS:
            tag = "failure" if row.judgement is Judgement.FAIL else "error"
            cause = row.explanation.cause.value if row.explanation else "unknown"
            child = ElementTree.SubElement(case, tag, type=cause, message=printable(_message(row)))
            child.text = printable("\n".join(_told(row)))
    text = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    write_text(path, text.decode())


def _message(row: Result) -> str:
    why = row.explanation.headline if row.explanation else row.reason
    return f"measured {row.measured}, predicted {row.predicted}: {why}"


def _told(row: Result) -> Iterator[str]:
    """The explanation in lines, as far as there is one, and the command that shows more."""
    if found := row.explanation:
        place = f" at {found.node}" if found.node else ""
        yield found.headline
        yield f"cause: {found.cause}{place}; wrong: {found.wrong}"
    yield row.reason
    yield from (f"finding: {finding}" for finding in row.findings)
    if found:
        yield from _story(Path(row.folder) / "explanation.json")
    yield f"testbed explain {row.folder}"


def _story(path: Path) -> Iterator[str]:
    """What a cell's explanation says besides its headline, with the numbers of the packets."""
    try:
        value = json.loads(foreign.read_bytes(path))
        told = [_line(line) for line in value["story"]]
        if value["wrong_why"]:
            told.append(f"wrong is {value['wrong']}: {_line(value['wrong_why'])}")
        yield from told + [f"missing: {what}" for what in value["missing"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        yield f"{path} could not be read: {error}"


def _line(line: Mapping[str, Any]) -> str:
    numbers = ", ".join(str(cite["number"]) for cite in line["cites"])
    return f"{line['text']} [packets {numbers}]" if numbers else str(line["text"])
