"""The page of a matrix in a real browser: opened from disk, used by mouse and by keys."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import CHROMIUM, Browser, chromium
from explained_cells import matrix
from made_results import document as made
from made_results import result

from testbed.model.verdict import Judgement
from testbed.nat.load import catalogue
from testbed.report.html import write_html

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium: the page of a matrix was NOT checked in a browser"
)
DIFFERING = "punch-udp/port-restricted--symmetric/0"
DROPPED = "punch-udp/symmetric--symmetric/0"
UNCLEAR = "punch-tcp/full-cone--symmetric/1"
UNEXPLAINED = "ice/full-cone--full-cone/0"
OPEN = "document.querySelector('dialog').open"
SHUT = "!document.querySelector('dialog').open"
FOCUSED = "document.activeElement.dataset.cell"
MATCHING = "document.querySelectorAll('#matrix td[data-cell]:not(.out)').length"
EVIL = "</script><script>document.title='broken out'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as running:
        yield running


@pytest.fixture
def browser(chrome: Browser) -> Browser:
    chrome.events.clear()
    chrome.look(width=1400)
    return chrome


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of 108 cells, some of them not as predicted."""
    folder = tmp_path_factory.mktemp("a matrix")
    document = matrix(
        folder,
        repeats=2,
        differing=[DIFFERING],
        unclear=[UNCLEAR],
        unexplained=[UNEXPLAINED],
    )
    write_html(folder / "report.html", document)
    return folder / "report.html"


def choose(browser: Browser, name: str, value: str) -> None:
    browser.run(
        f"""(() => {{
            const field = document.getElementById('f-{name}');
            field.value = {value!r};
            field.dispatchEvent(new Event('input', {{ bubbles: true }}));
        }})()"""
    )


def show(browser: Browser, page: Path, name: str) -> None:
    browser.open(page, f"#{name}")
    browser.until(OPEN)
    browser.run("document.getAnimations().forEach((animation) => animation.finish())")


def text(browser: Browser, selector: str) -> str:
    return str(browser.run(f"document.querySelector({selector!r}).textContent"))


def test_a_page_that_complains_or_asks_for_something_is_noticed(
    browser: Browser, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text(
        "<html data-ready=1><img src='http://127.0.0.1:9/x'>"
        "<script>console.error('ouch'); undefined.nothing</script>"
    )
    browser.open(bad)
    complaints = " ".join(browser.complaints())
    assert "ouch" in complaints
    assert "TypeError" in complaints
    assert "http://127.0.0.1:9/x" in browser.requested()


def test_it_opens_from_disk_without_a_complaint_and_asks_for_nothing_else(
    browser: Browser, page: Path
) -> None:
    show(browser, page, DIFFERING)
    assert browser.complaints() == []
    assert {url.partition("#")[0] for url in browser.requested()} == {page.as_uri()}
    assert browser.run("performance.getEntriesByType('resource').length") == 0
    assert "106 of 108" in text(browser, "#sum")


def test_the_grid_says_without_colour_what_was_measured(browser: Browser, page: Path) -> None:
    browser.open(page)

    def said(name: str) -> str:
        return text(browser, f'td[data-cell="{name.rpartition("/")[0]}"]')

    assert said(DIFFERING) == "D≠–1/2"
    assert said(UNCLEAR) == "?1/2"
    assert said(DROPPED) == "–2/2"
    assert said("ice/symmetric--symmetric/0") == "R2/2"
    assert said("ice/full-cone--symmetric/0") == "D2/2"
    assert said("punch-tcp/symmetric--symmetric.silent/0") == "–"
    names = browser.run("[...document.querySelectorAll('td[data-cell]')].map((td) => td.ariaLabel)")
    assert "port-restricted to symmetric: measured direct, predicted none, 1 of 2" in " ".join(
        names
    )


@pytest.mark.parametrize(
    ("name", "value", "count"),
    [
        ("profile", "symmetric", 3 * 7 + 3),
        ("stack", "ice", 16 + 4),
        ("transport", "tcp", 16 + 4),
        ("path", "relayed", 3),
        ("verdict", "fail", 1),
        ("verdict", "inconclusive", 1),
        ("cause", "mapping_changed", 9),
        ("cause", "punching_off", 12),
        ("text", "ICE symmetric--sym", 2),
        ("text", "12 packets lost", 1),
        ("text", "nonesuch", 0),
    ],
)
def test_a_filter_leaves_what_matches(
    name: str, value: str, count: int, browser: Browser, page: Path
) -> None:
    browser.open(page)
    assert browser.run(MATCHING) == 60
    choose(browser, name, value)
    assert browser.run(MATCHING) == count
    assert text(browser, "#shown") == f"{count} of 60 cells match"
    browser.run("document.getElementById('f-clear').click()")
    browser.until(f"{MATCHING} === 60")
    assert text(browser, "#shown") == ""


def test_filters_together_narrow_and_a_cause_is_one_click(browser: Browser, page: Path) -> None:
    browser.open(page)
    choose(browser, "stack", "punch-tcp")
    browser.click("#causes button[data-cause='mapping_changed']")
    assert browser.run(MATCHING) == 3
    assert browser.run("document.activeElement.ariaPressed") == "true"
    listed = browser.run("[...document.querySelectorAll('#list a')].map((a) => a.textContent)")
    assert len(listed) == 3
    assert all("punch-tcp" in line and "mapping changed" in line for line in listed)
    browser.press("Enter")
    assert browser.run(MATCHING) == 20


def test_what_differs_is_named_first(browser: Browser, page: Path) -> None:
    browser.open(page)
    listed = browser.run("[...document.querySelectorAll('#list a')].map((a) => a.hash)")
    assert listed == [f"#{DIFFERING}", f"#{UNCLEAR}"]


def test_a_click_shows_the_explanation_and_the_diagram(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.click(f'td[data-cell="{DROPPED[:-2]}"]')
    browser.until(OPEN)
    told = text(browser, "dialog")
    assert "mapping changed at nat-b" in told
    assert "nat-b gave b the new port 50123" in told
    assert "dropped: unsolicited" in text(browser, ".diagram")
    drawn = browser.run(
        """(() => {
            const count = (what) => document.querySelectorAll(`.diagram ${what}`).length;
            return [count('.node'), count('.message'), count('.message.decisive'), count('.tip'),
                    count('.end circle'), count('.end')];
        })()"""
    )
    assert drawn == [5, 5, 2, 6, 1, 3]
    changed = browser.run(
        "[...document.querySelectorAll('.diagram .new')].map((text) => text.textContent)"
    )
    assert "29.0.1.2:50123" in changed
    assert browser.run("location.hash") == f"#{DROPPED}"
    assert browser.run("document.querySelector('.tale a').getAttribute('href')") == (
        f"cells/{DROPPED}/capture.pcapng"
    )
    assert "testbed explain" in told
    assert "frame.number == 12 || frame.number == 15" in told


def test_keys_alone_reach_a_cell_open_it_and_come_back(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.getElementById('f-clear').previousElementSibling.lastChild.focus()")
    for _ in range(20):
        browser.press("Tab")
        if browser.run(FOCUSED):
            break
    assert browser.run(FOCUSED) == "punch-udp/full-cone--full-cone"
    browser.press("ArrowDown", "ArrowDown", "End", "ArrowLeft", "ArrowRight")
    assert browser.run(FOCUSED) == DIFFERING[:-2]
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert browser.run("document.querySelectorAll('#matrix td[tabindex=\"0\"]').length") == 4
    browser.press("Enter")
    browser.until(OPEN)
    browser.until("document.activeElement.closest('dialog') !== null")
    browser.press("Escape")
    browser.until(SHUT)
    assert browser.run(FOCUSED) == DIFFERING[:-2]
    browser.press("Tab")
    assert browser.run(FOCUSED) == "punch-tcp/full-cone--full-cone"


def test_arrows_pass_over_what_a_filter_left_out(browser: Browser, page: Path) -> None:
    browser.open(page)
    choose(browser, "profile", "symmetric")
    browser.run("document.querySelector('td[tabindex=\"0\"]').focus()")
    assert browser.run(FOCUSED) == "punch-udp/full-cone--symmetric"
    browser.press("ArrowDown", "ArrowDown", "ArrowDown", "Home")
    assert browser.run(FOCUSED) == "punch-udp/symmetric--full-cone"


def test_an_address_leads_to_a_cell_and_back_is_back(browser: Browser, page: Path) -> None:
    show(browser, page, UNCLEAR)
    assert "full-cone → symmetric" in text(browser, "dialog h2")
    assert "inconclusive" in text(browser, "dialog .badges")
    browser.run("document.querySelector('.close').click()")
    browser.until(SHUT)
    assert browser.run(FOCUSED) == UNCLEAR[:-2]
    browser.run("history.back()")
    browser.until(OPEN)
    browser.run("document.querySelectorAll('.repeats a')[0].click()")
    browser.until("document.querySelector('.repeats a').ariaCurrent === 'page'")
    browser.run("history.back()")
    browser.until("document.querySelectorAll('.repeats a')[1].ariaCurrent === 'page'")
    assert browser.complaints() == []


@pytest.mark.parametrize(
    ("fragment", "words"),
    [
        ("#no/such/cell/0", "the cell no/such/cell/0"),
        ("#%E0%A4%A", "the cell %E0%A4%A"),
        ("#?profile=nonesuch", "the profile nonesuch"),
        ("#?colour=red", "the filter colour"),
    ],
)
def test_an_address_of_what_is_not_there_is_answered(
    fragment: str, words: str, browser: Browser, page: Path
) -> None:
    browser.open(page, fragment)
    assert browser.run(SHUT)
    assert text(browser, "#unknown") == f"The address asks for {words}: not in this page."
    assert browser.run("document.getElementById('unknown').checkVisibility()")
    assert browser.run(MATCHING) == 60
    browser.run(f"location.hash = {DROPPED!r}")
    browser.until(OPEN)
    assert browser.run("document.getElementById('unknown').hidden")
    assert browser.complaints() == []


def test_an_address_carries_the_filters_and_a_cell_beside_them(
    browser: Browser, page: Path
) -> None:
    browser.open(page)
    choose(browser, "profile", "symmetric")
    choose(browser, "text", "ice & more?")
    choose(browser, "text", "ice")
    address = browser.run("location.hash")
    assert address == "#?text=ice&profile=symmetric"
    count = browser.run(MATCHING)
    assert count < 60
    browser.open(page, address)
    assert browser.run(MATCHING) == count
    assert browser.run("document.getElementById('f-profile').value") == "symmetric"
    browser.run("document.querySelector('#list a').click()")
    browser.until(OPEN)
    shared = browser.run("location.hash")
    assert shared.endswith("?text=ice&profile=symmetric")
    browser.open(page, shared)
    browser.until(OPEN)
    assert browser.run(MATCHING) == count
    browser.press("Escape")
    browser.until(SHUT)
    assert browser.run("location.hash") == address
    browser.run("document.getElementById('f-clear').click()")
    browser.until(f"{MATCHING} === 60")
    assert browser.run("location.hash") in ("", "#")
    assert browser.complaints() == []


def test_the_head_says_when_and_how_it_was_run_and_names_have_titles(
    browser: Browser, page: Path
) -> None:
    browser.open(page)
    told = text(browser, "#run")
    assert told == "2026-11-29 07:40:58 UTC, seed 7, testbed 0.2.0 testbed matrix --seed 7"
    head = browser.run("document.querySelector('thead th').title")
    assert head == "Full-cone NAT"
    cell = browser.run("document.querySelector('td[data-cell]').title")
    assert cell.startswith("full-cone: Full-cone NAT")


@pytest.mark.parametrize("columns", [4, 37])
def test_on_paper_no_column_is_cut_and_colours_stay(
    columns: int, browser: Browser, tmp_path: Path
) -> None:
    names = tuple(f"profile-{number}" for number in range(columns))
    write_html(tmp_path / "report.html", matrix(tmp_path, profiles=names, peers=("ice",)))
    paper = 1040  # CSS pixels of A4, landscape, between its margins
    browser.look(width=paper)
    browser.cdp("Emulation.setEmulatedMedia", media="print")
    try:
        browser.open(tmp_path / "report.html")
        right = browser.run(
            "Math.max(...[...document.querySelectorAll('td, th')]"
            ".map((cell) => cell.getBoundingClientRect().right))"
        )
        assert right <= paper
        assert browser.run("getComputedStyle(document.body).printColorAdjust") == "exact"
    finally:
        browser.cdp("Emulation.setEmulatedMedia", media="")


def test_a_cell_that_is_open_is_what_is_printed_and_all_of_it(browser: Browser, page: Path) -> None:
    browser.look(width=1040)
    show(browser, page, DROPPED)
    browser.cdp("Emulation.setEmulatedMedia", media="print")
    try:
        assert not browser.run("document.getElementById('top').checkVisibility()")
        for selector in ("dialog", ".diagram"):
            box = f"document.querySelector({selector!r})"
            assert browser.run(f"{box}.scrollHeight <= {box}.clientHeight + 2"), selector
    finally:
        browser.cdp("Emulation.setEmulatedMedia", media="")


def test_a_cell_without_an_explanation_still_opens(browser: Browser, page: Path) -> None:
    show(browser, page, UNEXPLAINED)
    assert "no explanation recorded" in text(browser, "dialog")
    assert "says the oracle" in text(browser, "dialog")


def test_an_explanation_of_another_shape_costs_only_itself(
    browser: Browser, tmp_path: Path
) -> None:
    document = matrix(tmp_path, profiles=("full-cone",), peers=("ice",))
    file = tmp_path / "cells" / UNEXPLAINED / "explanation.json"
    file.write_text(
        '{"headline": 7, "story": [], "decisive": [], "wrong": "nobody", "wrong_why": null,'
        '"missing": [], "diagram": {"columns": 3, "messages": [{"segments": 4}], "omitted": 0}}'
    )
    write_html(tmp_path / "report.html", document)
    show(browser, tmp_path / "report.html", UNEXPLAINED)
    assert "could not be drawn" in text(browser, "dialog")
    assert browser.complaints() == []


def test_the_diagram_is_zoomed_fitted_and_panned(browser: Browser, page: Path) -> None:
    show(browser, page, DROPPED)
    width = "document.querySelector('.diagram svg:not(.heads)').width.baseVal.value"
    inner = "document.querySelector('.diagram').clientWidth"
    before = browser.run(width)
    browser.click(".tools button:nth-child(3)")
    assert browser.run(width) == pytest.approx(before * 1.25)
    browser.run("document.querySelector('.diagram').focus()")
    browser.press("-", "-")
    assert browser.run(width) == pytest.approx(before / 1.25)
    browser.press("0")
    assert browser.run(f"Math.abs({width} - {inner}) < 4")
    browser.press("+", "+", "+")
    left = "document.querySelector('.diagram').scrollLeft"
    assert browser.run(left) == 0
    browser.press("ArrowRight")
    browser.until(f"{left} > 0")
    box = browser.run("document.querySelector('.diagram').getBoundingClientRect().toJSON()")
    wheel: dict[str, Any] = {"type": "mouseWheel", "x": box["x"] + 200, "y": box["y"] + 90}
    big = browser.run(width)
    browser.cdp("Input.dispatchMouseEvent", deltaX=0, deltaY=-150, modifiers=2, **wheel)
    browser.until(f"{width} > {big}")
    heads = "document.querySelector('.diagram .heads').width.baseVal.value"
    assert browser.run(heads) == browser.run(width)


def test_a_long_diagram_opens_at_what_decided(browser: Browser, tmp_path: Path) -> None:
    document = matrix(tmp_path, profiles=("full-cone",), peers=("ice",))
    file = tmp_path / "cells" / UNEXPLAINED / "explanation.json"
    value = json.loads(file.read_text())
    usual = value["diagram"]["messages"][0]
    value["diagram"]["messages"] = [usual] * 30 + value["diagram"]["messages"] + [usual] * 30
    file.write_text(json.dumps(value))
    write_html(tmp_path / "report.html", document)
    show(browser, tmp_path / "report.html", UNEXPLAINED)
    places = browser.run(
        """[...document.querySelectorAll('.message')].map((message) => {
            const box = document.querySelector('.diagram').getBoundingClientRect();
            const at = message.getBoundingClientRect();
            return at.top > box.top && at.bottom < box.bottom;
        })"""
    )
    assert places[32]
    assert places[33]
    assert not places[0]
    top = "document.querySelector('.diagram').scrollTop"
    browser.run("document.querySelector('.diagram').focus()")
    before = browser.run(top)
    browser.press("d", "d")
    browser.until(f"{top} > {before}")


def test_a_cited_packet_is_shown_on_the_diagram(browser: Browser, page: Path) -> None:
    show(browser, page, DROPPED)
    cites = browser.run("[...document.querySelectorAll('.story .cite')].map((c) => c.textContent)")
    assert cites == ["#12", "#15"]
    browser.run("document.querySelectorAll('.story .cite')[1].click()")
    assert "#14" in text(browser, ".message.found")
    assert "packets 15" in text(browser, ".message.found title")
    assert text(browser, ".picture [role=status]") == ""


def test_a_cited_packet_without_a_message_is_said_to_have_none(
    browser: Browser, tmp_path: Path
) -> None:
    document = matrix(tmp_path, profiles=("full-cone",), peers=("ice",))
    file = tmp_path / "cells" / UNEXPLAINED / "explanation.json"
    file.write_text(file.read_text().replace('"number": 12', '"number": 77'))
    write_html(tmp_path / "report.html", document)
    show(browser, tmp_path / "report.html", UNEXPLAINED)
    browser.run("document.querySelector('.story .cite').click()")
    assert "Packet 77 has no arrow" in text(browser, ".picture [role=status]")


def test_the_diagram_can_be_read_as_a_table(browser: Browser, page: Path) -> None:
    show(browser, page, DROPPED)
    table = text(browser, ".picture table")
    assert "nat-a → nat-b29.0.0.2:4001 → 29.0.1.2:4002dropped: dropped: unsolicited#15" in table


def test_names_are_text_and_never_markup(browser: Browser, tmp_path: Path) -> None:
    document = matrix(tmp_path, profiles=("full-cone", "symmetric"), peers=("ice",))
    first, *rest = document.results
    assert first.explanation is not None
    odd = {
        "name": f"{EVIL}/0",
        "labels": {**first.labels, "stack": EVIL},
        "profiles": (EVIL, EVIL),
        "reason": EVIL,
        "judgement": Judgement.FAIL,
        "measured": "none",
        "explanation": first.explanation.model_copy(update={"headline": EVIL, "node": EVIL}),
    }
    results = (first.model_copy(update=odd), *rest)
    document = document.model_copy(update={"results": results})
    (Path(first.folder) / "events.jsonl").write_text(f'{{"peer":"{EVIL}","at":1}}')
    write_html(tmp_path / "report.html", document)
    browser.open(tmp_path / "report.html")
    browser.run("document.querySelector('#list a').click()")
    browser.until(OPEN)
    assert EVIL in text(browser, "dialog h2")
    assert browser.run("document.title") == "testbed matrix"
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert browser.complaints() == []


CONTRASTS = """(() => {
    const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const luminance = (colour) => {
        const [r, g, b] = parse(colour).map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if ((parse(colour)[3] ?? 1) === 1) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const poor = [];
    let seen = 0;
    for (const element of document.body.querySelectorAll('*')) {
        const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!own || !element.checkVisibility({ checkVisibilityCSS: true })) continue;
        if (element.closest('script, noscript, title, option')) continue;
        const style = getComputedStyle(element);
        const drawn = element.namespaceURI.endsWith('svg');
        const ink = drawn ? style.fill : style.color;
        const halo = drawn && style.stroke !== 'none'; // as the ground it stands on
        const html = element.closest('svg')?.parentElement ?? element;
        const ground = halo ? style.stroke : behind(html);
        const [dark, light] = [luminance(ink), luminance(ground)].sort((x, y) => x - y);
        const ratio = (light + 0.05) / (dark + 0.05);
        seen += 1;
        if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${element.outerHTML.slice(0, 120)}`);
    }
    return { seen, poor };
})()"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1400, 375])
def test_every_text_can_be_read_in_any_light_and_width(
    width: int, dark: bool, browser: Browser, page: Path
) -> None:
    browser.look(width=width, dark=dark)
    browser.open(page)
    browser.run("document.getElementById('facts').open = true")
    grid = browser.run(CONTRASTS)
    assert grid["poor"] == []
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    show(browser, page, DIFFERING)
    browser.run("document.querySelectorAll('dialog details').forEach((d) => { d.open = true; })")
    browser.run("document.querySelector('.cite').click()")
    panel = browser.run(CONTRASTS)
    assert panel["poor"] == []
    assert grid["seen"] > 150
    assert panel["seen"] > grid["seen"] + 50
    wide, room = browser.run(
        "((panel) => [panel.scrollWidth, panel.clientWidth])(document.querySelector('dialog'))"
    )
    assert wide <= room


def test_dark_and_light_look_different(browser: Browser, page: Path) -> None:
    grounds = []
    for dark in (False, True):
        browser.look(width=1400, dark=dark)
        browser.open(page)
        grounds.append(browser.run("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


def test_text_too_faint_is_noticed(browser: Browser, tmp_path: Path) -> None:
    faint = tmp_path / "faint.html"
    faint.write_text(
        "<html data-ready=1><body style='background:#fff'><p style='color:#999'>faint"
        "<p style='color:#000'>plain</p>"
    )
    browser.open(faint)
    found = browser.run(CONTRASTS)
    assert (found["seen"], len(found["poor"])) == (2, 1)


@pytest.mark.parametrize(
    ("profiles", "cells"), [(13, 500), (32, 3072)], ids=["500 cells", "the whole catalogue"]
)
def test_a_large_matrix_is_ready_at_once(
    profiles: int, cells: int, browser: Browser, tmp_path: Path
) -> None:
    names = list(catalogue())[:profiles]
    document = matrix(tmp_path, profiles=names)
    assert len(document.results) >= cells
    write_html(tmp_path / "report.html", document)
    browser.open(tmp_path / "report.html")
    ready = float(browser.run("document.documentElement.dataset.ready"))
    assert ready < 3000, "milliseconds, on a machine busy with other tests; about 200 when idle"
    assert browser.run(MATCHING) == len(document.results)
    started = time.monotonic()
    choose(browser, "text", f"{names[-1]}--{names[-1]}")
    assert browser.run(MATCHING) == 6
    browser.click("#matrix td[data-cell]:not(.out)")
    browser.until("document.querySelectorAll('.diagram .message').length > 0")
    assert time.monotonic() - started < 10
    assert browser.complaints() == []


# By how much a page of ten times as many cells may take longer: what grows with their square takes
# a hundred times as long.  Both are opened in one browser, since times alone are the machine's.
GROWTH = 30
FILTERED = """(async () => {
    const field = document.getElementById('f-profile');
    field.value = 'profile-7';
    const started = performance.now();
    field.dispatchEvent(new Event('input', { bubbles: true }));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return performance.now() - started;
})()"""


def test_pages_of_twenty_thousand_cells_open_and_are_filtered_in_linear_time(
    browser: Browser, tmp_path: Path
) -> None:
    stacks = ("ice", "pion", "punch-udp", "punch-tcp", "traversal-tcp", "traversal-quic")

    def took(side: int) -> tuple[float, float]:
        """Milliseconds until a page of so many profiles a side is open, and is filtered."""
        names = [f"profile-{number}" for number in range(side)]
        pairs = [f"{stack}/{a}--{b}" for stack in stacks for a in names for b in names]
        write_html(tmp_path / f"{side}.html", made([result(pair) for pair in pairs]))
        browser.open(tmp_path / f"{side}.html")
        ready = float(browser.run("document.documentElement.dataset.ready"))
        assert browser.run(MATCHING) == len(pairs)
        filtered = float(browser.run(FILTERED))
        assert browser.run(MATCHING) == len(stacks) * (2 * len(names) - 1)
        return ready, filtered

    few, many = took(18), took(58)
    assert 6 * 58**2 > 20_000
    assert all(large < GROWTH * small for small, large in zip(few, many, strict=True)), (few, many)
    assert browser.complaints() == []
