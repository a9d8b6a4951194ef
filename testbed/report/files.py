"""Results for machines: JSON and JUnit XML."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

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


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write whole or not at all: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".part")
    draft.write_text(json.dumps(value, indent=2) + "\n")
    draft.replace(path)


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
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(suite).write(path, encoding="unicode", xml_declaration=True)
