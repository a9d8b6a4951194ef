"""JUnit XML whose failure text is the explanation."""

import json
import tempfile
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_results import document, result
from told import Told

from testbed.model.explanation import (
    Cause,
    Citation,
    Diagram,
    Explanation,
    Line,
    Wrong,
)
from testbed.model.outcome import Outcome
from testbed.model.packet import Endpoint
from testbed.model.result import Result, Why
from testbed.model.verdict import Judgement
from testbed.report.files import printable, write_junit
from testbed.words.explanations import to_json


def cite(number: int) -> Citation:
    ends = Endpoint(IPv4Address("29.0.0.2"), 4001), Endpoint(IPv4Address("29.0.1.2"), 4001)
    return Citation(number, "nat-b:wan", False, "udp", *ends, 10**9)


EXPLANATION = Explanation(
    name="punch-udp/pf--pf/0",
    mechanism="punch_udp",
    measured=Outcome.NONE,
    predicted=Outcome.DIRECT,
    judgement=Judgement.FAIL,
    cause=Cause.FILTER_CLOSED,
    node="nat-b",
    headline=Told("nat-b let nobody in."),
    story=(Line(Told("a's punch left."), (cite(12), cite(15))), Line(Told("Nothing came back."))),
    decisive=(cite(15),),
    wrong=Wrong.NAT,
    wrong_why=Line(Told("It declares endpoint_independent filtering."), (cite(15),)),
    missing=(Told("drops.json was not recorded"),),
    diagram=Diagram((), ()),
)


def row(folder: Path | str = "out/cell", **changes: Any) -> Result:
    told = to_json(EXPLANATION)
    known = {
        "judgement": "fail",
        "measured": "none",
        "reason": "no payload arrived",
        "findings": ["a claims a connection"],
        "seconds": 1.25,
        "folder": str(folder),
        "explanation": {key: told[key] for key in ("cause", "node", "headline", "wrong")},
    }
    return result("punch-udp/pf--pf", **known | changes)


def suite(path: Path, *rows: Result) -> ElementTree.Element:
    write_junit(path, document(rows))
    root = ElementTree.parse(path).getroot()
    root.remove(root[0])  # the properties, of which a test of its own asks
    return root


def test_the_suite_says_when_and_by_which_command_seed_and_version_it_was_run(
    tmp_path: Path,
) -> None:
    write_junit(tmp_path / "junit.xml", document([row()]))
    root = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert root.get("timestamp") == "2026-11-29T07:40:58+00:00"
    properties = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert properties["testbed.command"] == "testbed matrix --seed 7"
    assert (properties["testbed.seed"], properties["testbed.version"]) == ("7", "0.2.0")


def test_a_failures_text_is_its_explanation(tmp_path: Path) -> None:
    (tmp_path / "explanation.json").write_text(json.dumps(to_json(EXPLANATION)))
    (case,) = suite(tmp_path / "junit.xml", row(tmp_path))
    (failure,) = case
    assert (failure.tag, failure.get("type")) == ("failure", "filter_closed")
    assert failure.get("message") == "measured none, predicted direct: nat-b let nobody in."
    assert (failure.text or "").splitlines() == [
        "nat-b let nobody in.",
        "cause: filter_closed at nat-b; wrong: nat",
        "no payload arrived",
        "finding: a claims a connection",
        "a's punch left. [packets 12, 15]",
        "Nothing came back.",
        "wrong is nat: It declares endpoint_independent filtering. [packets 15]",
        "missing: drops.json was not recorded",
        f"testbed explain {tmp_path}",
    ]


def test_what_passed_has_no_text_and_what_is_inconclusive_is_an_error(tmp_path: Path) -> None:
    rows = row(judgement="pass"), row(repeat=1, judgement="inconclusive", explanation=None)
    passed, broken = suite(tmp_path / "junit.xml", *rows)
    assert (len(passed), passed.get("time")) == (0, "1.250")
    assert [child.tag for child in broken] == ["error"]
    assert "no payload arrived" in (broken[0].text or "")


@pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"story": [{}], "missing": 0}'])
def test_an_explanation_that_cannot_be_read_costs_only_its_story(
    text: str | None, tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / "explanation.json").write_text(text)
    (case,) = suite(tmp_path / "junit.xml", row(tmp_path))
    said = case[0].text or ""
    assert "nat-b let nobody in." in said
    assert "explanation.json could not be read" in said


def test_a_control_character_that_is_left_in_breaks_the_file() -> None:
    """The control of the test below: the parser does refuse what XML 1.0 forbids."""
    with pytest.raises(ElementTree.ParseError):
        ElementTree.fromstring("<a>\x1b[31mred</a>")


ODD = "\x00\x08\x0b\x1b\x7f\r\t\ud800\udfff\ufffe\uffff<&>]"
anything = st.lists(st.characters() | st.sampled_from(ODD)).map("".join)


@given(anything, anything, anything)
def test_any_words_give_xml_that_parses_and_says_the_same(
    headline: str, reason: str, name: str
) -> None:
    found = Why.model_construct(
        cause=Cause.UNKNOWN, node=None, headline=headline, wrong=Wrong.UNDECIDED
    )
    with tempfile.TemporaryDirectory() as folder:
        changed = row(folder, name=name).model_copy(update={"reason": reason, "explanation": found})
        (case,) = suite(Path(folder) / "junit.xml", changed)
    said = case[0].text or ""
    lines = printable(f"{headline}\ncause: unknown; wrong: undecided\n{reason}\n")
    assert said.startswith(lines.replace("\r\n", "\n").replace("\r", "\n"))
    assert case.get("name") == printable(name)


@given(anything)
def test_what_is_printable_stays_and_what_is_not_goes(text: str) -> None:
    kept = printable(text)
    assert printable(kept) == kept
    kept.encode()  # no lone surrogate is left
    assert [c for c in text if c.isalnum() and not "\ud800" <= c <= "\udfff"] == [
        c for c in kept if c.isalnum()
    ]
