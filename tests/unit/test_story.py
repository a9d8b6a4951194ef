"""An explanation on a terminal: what a newcomer must find is there, at every width."""

import io
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from rich.console import Console
from told import Told
from ways import Wire, evidence, explained, lab, labelled

import testbed.explain
from testbed.explain.diagram import diagram
from testbed.model.explanation import Cause, Citation, Explanation, Line, Wrong
from testbed.model.journey import Fate, Hop, Journey, Label
from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement
from testbed.report.glyphs import ASCII, UNICODE, Glyphs, glyphs_for
from testbed.report.story import hops, pointers, render

ADDRESSES = {"a": "10.0.0.2", "nat-a": "29.0.0.2", "nat-b": "29.0.0.18", "b": "10.0.1.2"}


def a_cell(text: str = "punch", **changes: Any) -> Explanation:
    """A cell with two punches, the second of which decided, and one from the other side."""
    wire = Wire()
    journeys = [wire.asked(0), wire.punch(104.7), wire.punch(105.2), wire.counter_punch(106)]
    decisive = journeys[2]
    steps = diagram(evidence(), journeys, labelled(journeys, text=text), decisive.packets[-1:])
    return replace(explained(steps, [decisive.last]), **changes)


def shown(
    explanation: Explanation, width: int = 80, glyphs: Glyphs = UNICODE, colour: bool = False
) -> str:
    file = io.StringIO()
    system: Literal["standard"] | None = "standard" if colour else None
    console = Console(width=width, file=file, force_terminal=colour, color_system=system)
    console.print(render(explanation, width, glyphs, ADDRESSES), crop=False)
    return file.getvalue()


def messages(text: str) -> list[str]:
    lines = text.splitlines()
    return lines[next(n for n, line in enumerate(lines) if " ms a " in line) :]


@pytest.mark.parametrize("width", [80, 100, 120, 160, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, shown(a_cell(), width).splitlines())) <= width
    long = "Binding request with a very long list of attributes that somebody put in " * 3
    text = shown(a_cell(long), width)
    assert max(map(len, text.splitlines())) <= width
    assert "...  #5" in text


@pytest.mark.parametrize("width", [80, 120, 200])
def test_verdict_cause_story_and_diagram_are_all_there(width: int) -> None:
    text = shown(a_cell(measured=Outcome.RELAYED), width)
    for words in (
        "measured relayed, predicted none: pass",
        "mapping_changed at nat-a",
        "nat-a used another port for the second destination",
        "1. a's punch left nat-a from 29.0.0.2:35968 #12",
        "10.0.0.2:4001 → 29.0.0.18:4001",
        "#12 dropped: unsolicited",
        "◆ decisive; ✗ came no further",
    ):
        assert words in text, words


def test_columns_are_headed_by_names_and_addresses() -> None:
    names, addresses, *_ = messages(shown(a_cell()))
    assert names.split() == ["ms", "a", "nat-a", "server", "nat-b", "b"]
    assert addresses.split() == ["10.0.0.2", "29.0.0.2", "29.0.0.18", "10.0.1.2"]


def test_the_lines_of_the_nodes_are_straight() -> None:
    lines = [line for line in messages(shown(a_cell()))[2:] if "→" not in line and "│" in line]
    first = {line.index("│") for line in lines}
    assert first == {11}


def test_an_arrow_begins_at_the_sender_and_stops_at_who_dropped_it() -> None:
    text = messages(shown(a_cell(), 120))
    at = text[0].index("nat-b") + 2
    [arrow] = [line for line in text if "✗" in line and "from 29.0.0.2:35968" in line][:1]
    assert arrow.index("✗") == at
    assert arrow.index("▶") < arrow.index("from") < arrow.index("✗")


def test_an_arrow_to_the_left_points_to_the_left() -> None:
    [line] = [line for line in messages(shown(a_cell())) if "from 29.0.0.18:4001" in line]
    assert line.index("✗") < line.index("◀") < line.index("from") < line.rindex("◀")
    assert "▶" not in line


def test_a_way_that_turns_back_goes_on_in_a_line_of_its_own() -> None:
    wire = Wire()
    query = wire.way(
        0,
        ("b", "10.0.1.2:4001", "29.0.0.18:3478"),
        ("nat-b", "100.64.0.3:4001", "29.0.0.18:3478"),
        ("cgn", "29.0.0.2:38846", "29.0.0.18:3478"),
        ("server", "29.0.0.2:38846", "29.0.0.18:3478"),
    )
    found = diagram(evidence(lab("carrier")), [query], labelled([query]), ())
    text = shown(a_cell(diagram=found), 100).splitlines()
    out, back = [line for line in text if "◀" in line or "▶" in line]
    assert out.count("◀") == 2
    assert "▶" not in out
    assert back.count("▶") == 1
    assert "from :38846" in back or "from 29.0.0.2:38846" in back


def test_however_narrow_an_arrow_keeps_its_head() -> None:
    for width in (60, 70, 80):
        lines = messages(shown(a_cell(), width))
        assert sum("▶" in line for line in lines) == 3, width


def test_the_words_begin_on_the_side_of_the_sender() -> None:
    lines = messages(shown(a_cell(), 160))
    head = lines[0]
    [left] = [line for line in lines if "#13" in line]
    assert head.index("server") < left.index("punch") < left.index("29.0.0.2:31939") < len(head)
    answer = Wire().way(
        0,
        ("server", "29.0.0.34:3478", "29.0.0.2:31939"),
        ("nat-a", "29.0.0.34:3478", "10.0.0.2:4001"),
        ("a", "29.0.0.34:3478", "10.0.0.2:4001"),
    )
    back = diagram(evidence(), [answer, Wire().punch(1)], labelled([answer]), ())
    [line] = [
        line for line in messages(shown(a_cell(diagram=back), 160)) if "29.0.0.34:3478" in line
    ]
    assert line.index("29.0.0.34:3478") < head.index("server")
    [right] = [line for line in lines if "#9" in line]
    assert right.index("punch") < head.index("nat-a")


def test_only_the_decisive_message_is_marked() -> None:
    marked = [line for line in messages(shown(a_cell())) if line.startswith("◆ ")]
    assert [line.split()[1] for line in marked[:-1]] == ["+105.2"]


def test_what_is_dropped_is_red_and_what_arrived_is_not() -> None:
    text = shown(a_cell(), 120, colour=True)
    assert re.search(r"\x1b\[1;31m[^\x1b]*✗", text)
    arrived = next(line for line in text.splitlines() if "from 29.0.0.2:31939" in line)
    assert "\x1b[1;31m" not in arrived


def test_without_a_terminal_there_are_no_colours() -> None:
    assert "\x1b" not in shown(a_cell())


def test_a_stream_without_unicode_gets_the_same_drawing_in_ascii() -> None:
    strange = a_cell(
        headline=Told("mapped → elsewhere — twice…"), story=(Line(Told("naïve ≠ wrong")),)
    )
    plain = shown(strange, 100, ASCII)
    assert plain.isascii()
    assert "mapped -> elsewhere - twice..." in plain
    fine = shown(strange, 100)
    for line, same in zip(messages(fine)[:-1], messages(plain)[:-1], strict=True):
        assert [line.count(sign) for sign in "│✗◆"] == [same.count(sign) for sign in "|X*"]


def test_what_a_packet_says_cannot_command_the_terminal() -> None:
    evil = "\x1b[2J\x07you are mine\n"
    said = a_cell(
        evil, headline=Told(evil), name=evil, missing=(Told(evil),), story=(Line(Told(evil)),)
    )
    for glyphs in (UNICODE, ASCII):
        text = shown(said, 100, glyphs)
        assert text.count("?[2J?you are mine") >= 5
        assert "\x1b" not in text
        assert "\x07" not in text


def test_streams_are_asked_for_their_encoding() -> None:
    assert glyphs_for("UTF-8") is glyphs_for("utf8") is UNICODE
    assert glyphs_for("latin-1") is glyphs_for("ANSI_X3.4-1968") is glyphs_for(None) is ASCII


def test_the_wrong_side_is_named_where_the_two_differ() -> None:
    why = Line(Told("its filter let in a stranger"), a_cell().decisive)
    differs = a_cell(judgement=Judgement.FAIL, wrong=Wrong.NAT, wrong_why=why)
    text = shown(differs)
    assert "a NAT does not do as it declares" in text
    assert "its filter let in a stranger #12" in text
    assert "wrong" not in shown(a_cell())


def test_what_is_missing_is_said() -> None:
    unknown = a_cell(cause=Cause.UNKNOWN, node=None, missing=(Told("the capture is not there"),))
    text = shown(unknown)
    assert "missing" in text
    assert "the capture is not there" in text


def test_a_number_that_the_sentence_has_is_not_said_twice() -> None:
    cite = a_cell().decisive[0]
    told = Told(f"dropped as #{cite.number} shows", frozenset({cite.number}))
    text = shown(a_cell(story=(Line(told, (cite,)),)))
    assert text.count("#12 ") - text.count("#12 dropped") == 1


def test_the_filter_picks_the_decisive_packets_and_survives_a_shell() -> None:
    other = Citation.of(Wire().packet("a", 0, "10.0.0.2:1", "10.0.0.3:2"))
    cell = a_cell(story=(Line(Told("something else"), (other,)),))
    lines = list(pointers(cell, Path("out/my matrix/capture.pcapng")))
    assert lines[1] == "filter   frame.number in {12}"
    words = shlex.split(lines[2])
    assert words == ["tshark", "-r", "out/my matrix/capture.pcapng", "-Y", lines[1][9:]]


def test_without_decisive_packets_the_cited_ones_are_picked_and_without_any_none() -> None:
    cited = a_cell(decisive=())
    assert list(pointers(cited, Path("x")))[1] == "filter   frame.number in {12}"
    assert list(pointers(replace(cited, story=()), Path("x"))) == ["packets  x"]


def test_an_explanation_without_evidence_is_short() -> None:
    text = shown(a_cell(story=(), diagram=diagram(evidence(), [], {}, ())))
    assert "what happened" not in text
    assert "decisive" not in text


def test_a_packet_seen_at_one_node_is_marked_there() -> None:
    packet = Wire().packet("server", 0, "29.0.0.34:1", "29.0.0.18:1")
    lost = Wire().punch(1)
    journeys = [Journey((Hop("server", Fate.SENT, outward=packet),)), lost]
    found = diagram(evidence(), journeys, {}, [packet.number])
    [line] = [line for line in messages(shown(a_cell(diagram=found))) if "●" in line]
    assert "─" not in line


def test_packets_lists_every_hop_with_number_fate_and_rule() -> None:
    journey = Wire().punch(104.7)
    labels = {journey.first.number: Label("udp", "punch", (("nonce", "17"),))}
    lines = [line.plain for line in hops([journey], labels, 0, UNICODE)]
    assert lines[0].split() == ["+104.7", "udp:", "punch", "nonce", "17"]
    assert [line.split()[:2] for line in lines[1:]] == [
        *(["a", "sent"], ["nat-a", "translated"], ["core", "forwarded"], ["nat-b", "dropped"]),
    ]
    assert "#1 #2" in lines[2]
    assert "10.0.0.2:4001 → 29.0.0.18:4001; then 29.0.0.2:35968 → 29.0.0.18:4001" in lines[2]
    assert lines[4].endswith("by unsolicited")


def test_every_word_of_the_vocabulary_is_explained_once() -> None:
    text = (Path(testbed.explain.__file__).parent / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| \S", text, re.MULTILINE)
    assert sorted(rows) == sorted(cause.value for cause in Cause)
