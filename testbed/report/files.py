"""Results for machines: JSON and JUnit XML."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from testbed.errors import TestbedError, UsageError
from testbed.matrix import Row, Summary

FORMAT = 1


def document(rows: Sequence[Row], summary: Summary, facts: Mapping[str, str]) -> dict[str, Any]:
    """The whole run as one JSON value."""
    return {
        "format": FORMAT,
        "facts": dict(facts),
        "total": summary.total,
        "passed": summary.passed,
        "failed": summary.failed,
        "inconclusive": summary.inconclusive,
        "mixed": list(summary.mixed),
        "retried": summary.retried,
        "certified": summary.certified,
        "exit_code": int(summary.exit_code),
        "cells": list(rows),
    }


def require_writable(*paths: Path | None) -> None:
    """Refuse, before a run, files that could not be written after it; makes their folders.

    None stands for a file that nobody asked for.  UsageError naming the path.
    """
    for path in paths:
        if path is None:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            new = not path.exists()
            path.open("ab").close()
            if new:
                path.unlink()
        except OSError as error:
            reason = f"{path} cannot be written: {error.strerror}"
            raise UsageError(reason, remedy="choose another folder") from error


def write_text(path: Path, text: str) -> None:
    """Write ``text``; TestbedError, with the remedy, where the disk does not take it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        reason = f"{path} was not written: {error.strerror}"
        remedy = "make room there or choose another folder, and run again"
        raise TestbedError(reason, remedy=remedy) from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write whole or not at all: a reader never sees half a file."""
    draft = path.with_name(path.name + ".part")
    try:
        write_text(draft, json.dumps(value, indent=2) + "\n")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_junit(path: Path, rows: Sequence[Row], summary: Summary) -> None:
    """One test case a cell; a failure's text says why and where the packets are."""
    suite = ElementTree.Element(
        "testsuite",
        name="testbed matrix",
        tests=str(summary.total),
        failures=str(summary.failed),
        errors=str(summary.inconclusive),
        time=f"{sum(row['seconds'] for row in rows):.3f}",
    )
    for row in rows:
        case = ElementTree.SubElement(
            suite, "testcase", classname=row["peer"], name=row["name"], time=f"{row['seconds']:.3f}"
        )
        if row["judgement"] != "pass":
            tag = "failure" if row["judgement"] == "fail" else "error"
            message = f"measured {row['measured']}, predicted {row['predicted']}"
            child = ElementTree.SubElement(case, tag, message=message)
            child.text = "\n".join([row["reason"], *row["findings"], row["folder"]])
    text = ElementTree.tostring(suite, encoding="unicode", xml_declaration=True)
    write_text(path, text)
