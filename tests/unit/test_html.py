"""The page of a matrix: what is embedded, how it is kept safe and small, and its colours."""

import base64
import hashlib
import json
import re
import shutil
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from explained_cells import START_NS, diagram, matrix
from made_results import document

from testbed.cli.commands.report import report
from testbed.errors import TestbedError, UsageError
from testbed.lab.namespaces import Namespaces
from testbed.model.details import PunchDetails
from testbed.model.outcome import Rung, RungReading
from testbed.model.result import Document
from testbed.nat.load import catalogue
from testbed.report import html
from testbed.report.html import write_html
from testbed.run.store import load
from testbed.studies.base import Site
from testbed.studies.odds.cases import cases
from testbed.studies.odds.runs import Measured
from testbed.studies.odds.study import judged

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "testbed/report/templates"


class Page(HTMLParser):
    """The page as a browser takes it apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.metas: list[dict[str, str | None]] = []
        self._open: dict[str, str | None] | None = None
        self._text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag == "script":
            self._open, self._text = dict(attrs), ""
        if tag == "meta":
            self.metas.append(dict(attrs))

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._open is not None:
            self.scripts.append((self._open, self._text))
            self._open = None

    def text(self, identity: str) -> str:
        return next(text for attrs, text in self.scripts if attrs.get("id") == identity)

    @property
    def data(self) -> Any:
        return json.loads(self.text("data"))

    def details(self, name: str) -> Any:
        """As the page's own script finds them."""
        place = next(row["place"] for row in self.data["rows"] if row["name"] == name)
        chunk, at = divmod(place, self.data["chunk"])
        packed = zlib.decompress(base64.b64decode(self.text(f"chunk-{chunk}")))
        return json.loads(packed)[at]


def written(document: Document, folder: Path) -> Page:
    write_html(folder / "report.html", document)
    return Page((folder / "report.html").read_text())


def test_a_study_without_dialers_has_its_own_lines_and_columns_and_its_details(
    tmp_path: Path,
) -> None:
    case = cases()[0]
    found = judged(case, Measured(200, 80, 0.0, 70), Site(Namespaces(), 0, tmp_path / "x"))
    page = written(document([found]), tmp_path)
    (row,) = page.data["rows"]
    assert (row["side"], row["head"]) == (["series", case.series], ["size", str(case.x)])
    assert page.details(case.name)["details"]["hits"] == 80
    assert "measured differs from predicted" in (tmp_path / "report.html").read_text()
    assert "relayed</span>" not in (tmp_path / "report.html").read_text()


@pytest.fixture
def small(tmp_path: Path) -> Document:
    return matrix(tmp_path, profiles=("full-cone", "symmetric"), peers=("ice",))


def changed(document: Document, **fields: Any) -> Document:
    """With other ``fields`` in its first result."""
    first, *rest = document.results
    return document.model_copy(update={"results": (first.model_copy(update=fields), *rest)})


NAME = "ice/full-cone--symmetric/0"


def test_a_row_and_its_folder_come_back_out_of_the_page(small: Document, tmp_path: Path) -> None:
    page = written(small, tmp_path)
    assert [row["name"] for row in page.data["rows"]] == [row.name for row in small.results]
    row = next(row for row in page.data["rows"] if row["name"] == NAME)
    assert (row["cause"], row["node"], row["transport"]) == ("both_opened", "nat-b", "udp")
    told = page.details(NAME)
    assert told["explanation"]["story"][1]["cites"] == [
        [12, "nat-b:wan", True, "udp", "29.0.1.2:50123", "29.0.0.2:4001"]
    ]
    assert told["explanation"]["diagram"]["messages"][2]["decisive"]
    assert page.data["facts"] == small.facts


def test_which_rung_carried_the_cells_and_how_long_it_took_is_on_the_page(
    small: Document, tmp_path: Path
) -> None:
    write_html(tmp_path / "plain.html", small)
    assert "Which rung" not in (tmp_path / "plain.html").read_text()
    rung = RungReading(Rung.PUNCHED, Rung.PUNCHED, None, 612.4, 1171.0)
    climbed = changed(small, details=PunchDetails(rung=rung))
    write_html(tmp_path / "page.html", climbed)
    text = (tmp_path / "page.html").read_text()
    row = re.search(r"<tr><td>.*punched.*</tr>", text)
    assert row is not None
    assert re.findall(r"<td>(.*?)</td>", row[0])[1:] == [
        "punched", "1", "1", "0", "612 ms", "1171 ms",
    ]  # fmt: skip
    told = written(climbed, tmp_path).details(small.results[0].name)
    assert told["rung"]["first_byte_ms"] == 612.4


def test_nothing_in_a_cell_can_end_the_script_or_start_another(
    small: Document, tmp_path: Path
) -> None:
    evil = "</script><script>alert(1)</script><!--<script>"
    why = small.results[0].explanation
    assert why is not None
    told = why.model_copy(update={"headline": evil})
    odd = {"name": f"ice/{evil}/0", "profiles": (evil, evil), "reason": evil, "explanation": told}
    small = changed(small, **odd)
    small.facts[evil] = evil
    usual = len(written(matrix(tmp_path / "usual"), tmp_path / "usual").scripts)
    page = written(small, tmp_path)
    assert page.data["rows"][0]["headline"] == evil
    assert "<" not in page.text("data")
    assert len(page.scripts) <= usual
    assert "alert(1)" not in page.scripts[-1][1]


def test_the_page_may_run_its_own_script_alone_and_ask_nobody(
    small: Document, tmp_path: Path
) -> None:
    page = written(small, tmp_path)
    policy = next(m["content"] for m in page.metas if m.get("http-equiv")) or ""
    digest = base64.b64encode(hashlib.sha256(page.scripts[-1][1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert all(link.startswith(("#", "data:")) for link in page.links)


def test_a_folder_without_an_explanation_gives_a_row_without(
    small: Document, tmp_path: Path
) -> None:
    (tmp_path / "cells" / NAME / "explanation.json").unlink()
    assert written(small, tmp_path).details(NAME)["explanation"] is None
    shutil.rmtree(tmp_path / "cells")
    gone = written(small, tmp_path).details(NAME)
    assert (gone["explanation"], gone["events"], gone["capture"]) == (None, [], None)
    assert gone["reason"]


@pytest.mark.parametrize(
    "damage",
    ["", "[", "7", "[]", "null", '{"story": 3}', '{"story": [], "wrong_why": null}', "[" * 100_000],
)
def test_a_damaged_explanation_is_none(damage: str, small: Document, tmp_path: Path) -> None:
    for name in ("explanation.json", "run.json", "events.jsonl"):
        (tmp_path / "cells" / NAME / name).write_text(damage)
    assert written(small, tmp_path).details(NAME)["explanation"] is None


def test_the_link_to_a_capture_is_relative_to_the_page(small: Document, tmp_path: Path) -> None:
    folder = tmp_path / "cells #1 ü" / "50%"
    folder.mkdir(parents=True)
    (folder / "capture.pcapng").touch()
    small = changed(small, folder=str(folder))
    elsewhere = tmp_path / "reports"
    elsewhere.mkdir()
    link = written(small, elsewhere).details(small.results[0].name)["capture"]
    assert link.isascii()
    assert "#" not in link
    assert (elsewhere / unquote(link)).resolve() == (folder / "capture.pcapng").resolve()


def test_events_are_timed_from_the_start_and_bounded(small: Document, tmp_path: Path) -> None:
    told = written(small, tmp_path).details(NAME)
    assert [event[:3] for event in told["events"]] == [["a", -2.0, "offer"], ["b", 10.0, "failed"]]
    lines = [
        json.dumps({"peer": "a", "at": START_NS + n, "event": "step", "text": "x" * 10_000})
        for n in range(1000)
    ]
    (tmp_path / "cells" / NAME / "events.jsonl").write_text("\n".join(lines))
    told = written(small, tmp_path).details(NAME)
    assert len(told["events"]) + told["more_events"] == 1000
    assert len(json.dumps(told["events"])) < 50_000


def test_a_diagram_is_bounded_and_says_so(small: Document, tmp_path: Path) -> None:
    file = tmp_path / "cells" / NAME / "explanation.json"
    value = json.loads(file.read_text())
    message = value["diagram"]["messages"][0]
    value["diagram"]["messages"] = [message] * 5000
    file.write_text(json.dumps(value))
    cut = written(small, tmp_path).details(NAME)["explanation"]["diagram"]
    assert len(cut["messages"]) == html.MESSAGES
    assert cut["omitted"] == diagram(through=True).omitted + 5000 - html.MESSAGES


def test_the_whole_catalogue_is_a_page_of_few_megabytes(tmp_path: Path) -> None:
    document = matrix(tmp_path, profiles=list(catalogue()))
    assert len(document.results) >= 3072
    write_html(tmp_path / "report.html", document)
    assert (tmp_path / "report.html").stat().st_size < 4_000_000


def test_what_differs_is_kept_where_there_is_not_room_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    differing = "ice/symmetric--symmetric/2"
    document = matrix(tmp_path, repeats=3, differing=[differing])
    full = written(document, tmp_path)
    assert all(row["place"] is not None for row in full.data["rows"])
    monkeypatch.setattr(html, "BUDGET", len(full.text("chunk-0")) + 100)
    page = written(document, tmp_path)
    kept = [row["name"] for row in page.data["rows"] if row["place"] is not None]
    assert differing in kept
    assert len(kept) == html.CHUNK
    assert len(page.data["rows"]) == len(document.results)
    assert page.details(differing)["explanation"]["wrong"] == "nat"


def test_a_report_is_written_again_also_where_the_matrix_was_moved_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix(tmp_path / "first", profiles=("full-cone", "symmetric"), peers=("ice",))
    moved = (tmp_path / "first").rename(tmp_path / "moved")
    assert report(moved, None) == 0
    assert capsys.readouterr().out.strip() == str(moved / "report.html")
    page = Page((moved / "report.html").read_text())
    assert page.details(NAME)["explanation"]["wrong"] == "nobody"
    assert page.details(NAME)["capture"] == f"cells/{NAME}/capture.pcapng"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not JSON"),
        ("[]", "the whole"),
        ("{}", "format"),
        ("[" * 100_000, "results.json"),
        ('{"format": 1}', "format 1; this version reads"),
    ],
)
def test_a_damaged_results_file_is_named(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(UsageError, match=complaint):
        load(tmp_path)


def test_a_row_that_lacks_something_is_named(small: Document, tmp_path: Path) -> None:
    value = small.to_json()
    del value["results"][2]["judgement"]
    (tmp_path / "results.json").write_text(json.dumps(value))
    with pytest.raises(UsageError, match=r"results\[2\]\.judgement"):
        load(tmp_path / "results.json")


def test_a_page_that_cannot_be_written_is_an_error_with_a_remedy(small: Document) -> None:
    with pytest.raises(TestbedError, match="was not written"):
        write_html(Path("/proc/nowhere/report.html"), small)


# What is written on what: names of the style sheet's colours.
TEXTS = [
    *((ink, page) for ink in ("ink", "soft", "accent") for page in ("page", "card", "sunk")),
    *((f"on-{kind}", kind) for kind in ("direct", "relayed", "none", "differs", "unclear")),
    *((ink, band) for ink in ("ink", "soft", "bad", "changed") for band in ("decisive", "found")),
    ("bad", "card"),
    ("bad", "page"),
    ("changed", "card"),
    ("changed", "page"),
    ("on-relayed", "decisive"),
    ("on-accent", "accent"),
    ("on-unclear", "page"),
    ("page", "ink"),
]


def colours(dark: bool) -> dict[str, str]:
    style = (TEMPLATES / "style.css").read_text()
    light, _, rest = style.partition("@media screen and (prefers-color-scheme: dark)")
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    if dark:
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", rest[: rest.index("\n}\n")]))
    return found


def contrast(one: str, other: str) -> float:
    """WCAG 2.2: from 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_measure_of_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # just too little


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_stands_out_as_wcag_aa_asks(dark: bool) -> None:
    named = colours(dark)
    ratios = {pair: contrast(named[pair[0]], named[pair[1]]) for pair in TEXTS}
    assert {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < 4.5} == {}


def test_dark_has_every_colour_of_its_own() -> None:
    light, dark = colours(False), colours(True)
    assert [name for name in light if light[name] == dark[name]] == []


def test_the_page_carries_the_runs_own_record(tmp_path: Path) -> None:
    made = matrix(tmp_path, profiles=("full-cone",), peers=("ice",))
    write_html(tmp_path / "report.html", made)
    data = Page((tmp_path / "report.html").read_text()).data
    assert data["run"] == {
        "date": "2026-11-29 07:40:58 UTC",
        "command": "testbed matrix --seed 7",
        "seed": 7,
        "version": "0.2.0",
    }
    assert data["profiles"]["full-cone"] == "Full-cone NAT"


def test_a_damaged_record_of_the_run_is_named(tmp_path: Path) -> None:
    made = matrix(tmp_path, profiles=("full-cone",), peers=("ice",))
    value = made.to_json()
    value["run"]["started"] = "yesterday"
    (tmp_path / "results.json").write_text(json.dumps(value))
    with pytest.raises(UsageError, match=r"results\.json: run"):
        load(tmp_path)
