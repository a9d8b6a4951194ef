"""Prediction and birthday probing in labs with real NAT rules: measured rates beside theory.

Everything is measured once.  The interval around each rate is so wide that all of them
together contain a theory that is right with 99 % (`testbed.studies.odds.study`).
"""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from shared import once

from testbed.capture.reader import read
from testbed.errors import BackendError, Exit, LossError
from testbed.lab.namespaces import Namespaces
from testbed.model.behaviour import Filtering
from testbed.model.breach import CountDisputed, HitDisputed
from testbed.model.details import OddsDetails
from testbed.model.packet import Packet
from testbed.model.result import Document, Result
from testbed.model.verdict import Judgement
from testbed.report.odds import table
from testbed.report.odds_plot import plot
from testbed.run.engine import run_study
from testbed.studies.base import Site
from testbed.studies.kept import CAPTURE
from testbed.studies.odds.cases import LIMITS, SMALL, Case, cases
from testbed.studies.odds.runs import WITNESSED, Measured, bench, measure, measure_in
from testbed.studies.odds.study import judged, odds
from testbed.studies.odds.wire import Told, disagreements
from testbed.traversal.hard_nat import Birthday, Kind, Prediction, decode

RUNS, SEED, JOBS = 200, 5128, 8
CASES = {case.title: case for case in cases(RUNS, SEED)}
CONTROLS = [title for title in CASES if title.startswith("control")]
UNCERTAIN = [title for title, case in CASES.items() if 0 < case.theory < 1]
SITE = Site(Namespaces(), 0, Path("out/cells/x"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    def run() -> list[Result]:
        out = tmp_path_factory.mktemp("odds")
        found = run_study(
            odds(RUNS), cases(RUNS, SEED), Namespaces(), out, jobs=JOBS, progress=lambda *_: None
        )
        return list(found)

    found = once(tmp_path_factory, "odds", run)
    return dict(zip(CASES, found, strict=True))


def details(result: Result) -> OddsDetails:
    assert isinstance(result.details, OddsDetails)
    return result.details


@pytest.mark.parametrize("name", CASES)
def test_the_measured_rate_agrees_with_theory(name: str, rows: dict[str, Result]) -> None:
    assert rows[name].judgement is Judgement.PASS, rows[name].to_json()
    assert rows[name].name == CASES[name].name


def test_each_strategy_is_measured_at_three_sizes_or_more() -> None:
    sizes = Counter(
        (type(case.strategy).__name__, case.quota is not None)
        for case in CASES.values()
        if case.title in UNCERTAIN
    )
    assert min(sizes.values()) >= 3
    assert set(sizes) == {("Birthday", False), ("Birthday", True), ("Prediction", False)}
    assert len({c.hard.ports.size for c in CASES.values() if isinstance(c.strategy, Birthday)}) >= 3


def test_every_packet_is_within_the_limits(rows: dict[str, Result]) -> None:
    for title, row in rows.items():
        limits = CASES[title].strategy.limits
        assert 0 < details(row).most_packets <= limits.packets
        assert details(row).most_packets <= limits.unasked + 4


# Negative controls: what is not so must differ


def _with(row: Result, case: Case) -> Judgement:
    """The judgement if ``case`` had been measured, by a machine that was never late."""
    found = details(row)
    return judged(case, Measured(found.runs, found.hits, 0.0, found.most_packets), SITE).judgement


@pytest.mark.parametrize("name", [name for name in UNCERTAIN if CASES[name].theory > 0.3])
def test_a_theory_of_half_or_twice_the_size_is_rejected(name: str, rows: dict[str, Result]) -> None:
    plan_ = CASES[name].strategy
    half: Birthday | Prediction
    if isinstance(plan_, Prediction):
        half = replace(plan_, candidates=plan_.candidates // 2)
    else:
        half = replace(plan_, probes=plan_.probes // 2)
        if plan_.probes > plan_.limits.unasked:  # the time bounds it, not the number
            half = replace(plan_, probes=plan_.limits.unasked // 2)
    assert _with(rows[name], replace(CASES[name], strategy=half)) is Judgement.FAIL


def test_a_quota_forgotten_in_theory_is_noticed(rows: dict[str, Result]) -> None:
    beyond = [case for case in CASES.values() if case.quota and case.x > case.quota]
    assert len(beyond) == 2
    for case in beyond:
        row = rows[case.title]
        assert _with(row, replace(case, quota=None)) is Judgement.FAIL
        assert _with(row, replace(case, quota=2 * 16)) is Judgement.FAIL


def test_time_that_is_forgotten_in_theory_is_noticed(rows: dict[str, Result]) -> None:
    (case,) = (case for case in CASES.values() if case.x > case.strategy.limits.unasked)
    patient = replace(case.strategy, limits=LIMITS)
    assert _with(rows[case.title], replace(case, strategy=patient)) is Judgement.FAIL


@pytest.mark.parametrize("name", CONTROLS)
def test_where_nothing_can_hit_nothing_does(name: str, rows: dict[str, Result]) -> None:
    row, case = rows[name], CASES[name]
    assert details(row).hits == 0
    sound = replace(case, silent=False, hard=replace(case.hard, ports=SMALL_RANGE))
    assert sound.theory > 0.7
    assert _with(row, sound) is Judgement.FAIL


SMALL_RANGE = next(c.hard.ports for c in cases() if c.hard.ports.first == SMALL.first)


# One capture, and sides that lie


@pytest.fixture(scope="module")
def witnessed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Packet], Measured]:
    """Some runs of a case that mostly hits, all on record at the hosts of both sides."""
    case = replace(CASES["birthday, 2048 ports, 16 sockets / 192"], runs=WITNESSED)
    site = Site(Namespaces(), 0, tmp_path_factory.mktemp("odds"))
    found = measure(case, site)
    return [one for one in read(site.folder / CAPTURE) if one.node in ("a-0", "b")], found


def test_the_packets_of_the_hits_are_on_the_wire(
    witnessed: tuple[list[Packet], Measured],
) -> None:
    packets, found = witnessed
    assert found.wrong == ()
    assert found.hits > 0
    arrived = [packet for packet in packets if packet.node == "a-0" and not packet.outgoing]
    assert len(_sessions(arrived, {Kind.CONFIRM})) == found.hits


def _sessions(packets: list[Packet], kinds: set[Kind]) -> set[bytes]:
    """Those of which a frame of ``kinds`` is among ``packets``."""
    frames = (decode(packet.payload) for packet in packets if packet.protocol == "udp")
    return {frame.session for frame in frames if frame is not None and frame.kind in kinds}


def test_sides_that_lie_are_found_out(witnessed: tuple[list[Packet], Measured]) -> None:
    packets, found = witnessed
    sessions = _sessions(packets, set(Kind))
    assert len(sessions) == WITNESSED
    boasts = [Told(session, True, 0, 0) for session in sessions]
    said = list(disagreements(boasts, packets))
    assert sum(isinstance(one, HitDisputed) for one in said) == WITNESSED - found.hits
    assert sum(isinstance(one, CountDisputed) for one in said) == WITNESSED
    stranger = Told(bytes(16), True, 0, 0)
    assert list(disagreements([stranger], packets))


def test_a_nat_with_an_open_filter_needs_no_guess(tmp_path: Path) -> None:
    """The easy side hears the hard one's first packet: every run is a hit."""
    case = replace(CASES["control: another range of ports / 192"], runs=20)
    profiles = case.made_profiles()
    easy = profiles["easy"]
    udp = replace(easy.behaviour.udp, filtering=Filtering.ENDPOINT_INDEPENDENT)
    profiles["easy"] = replace(easy, behaviour=replace(easy.behaviour, udp=udp))
    site = Site(Namespaces(), 0, tmp_path)
    with site.lab(bench(1), profiles, SEED) as lab:
        assert measure_in(lab, case, site).hits == 20


# Judgement, table, plot, command

CASE = Case(
    "birthday, a case", 64, Birthday(16, 64, SMALL, LIMITS), CASES[UNCERTAIN[0]].hard, of=19
)


def _judged(hits: int, late: float = 0.0, wrong: tuple[HitDisputed, ...] = ()) -> Result:
    return judged(CASE, Measured(200, hits, late, 70, wrong), SITE)


def test_lateness_makes_only_a_difference_inconclusive() -> None:
    assert _judged(80).judgement is Judgement.PASS
    assert _judged(80, late=5.0).judgement is Judgement.PASS
    assert (_judged(120).judgement, _judged(120).measured) == (Judgement.FAIL, "higher")
    assert _judged(20).measured == "lower"
    assert _judged(120, late=5.0).judgement is Judgement.INCONCLUSIVE
    assert _judged(120, late=5.0).late
    lying = _judged(80, wrong=(HitDisputed(3, True),))
    assert lying.judgement is Judgement.FAIL
    assert lying.findings == ("run 3: a hit by its sides, but not on the wire",)


def test_what_could_not_be_measured_is_inconclusive_and_is_told_below_the_table() -> None:
    lost = judged(CASE, None, SITE, BackendError("no lab"))
    assert (lost.judgement, lost.late) == (Judgement.INCONCLUSIVE, False)
    assert "no lab" in str(table([lost]).caption)
    assert judged(CASE, None, SITE, LossError("no room")).late
    known = [judged(case, None, SITE, BackendError("no lab")) for case in cases()]
    assert plot(known)


def test_more_cases_have_wider_intervals() -> None:
    bounds = [
        details(judged(replace(CASE, of=n), Measured(200, 80, 0.0, 1), SITE)).bounds
        for n in (1, 30)
    ]
    one, many = bounds
    assert one is not None
    assert many is not None
    assert many[0] < one[0] < 0.4 < one[1] < many[1]


def test_the_plot_has_every_curve_and_refers_to_nothing(rows: dict[str, Result]) -> None:
    text = plot(list(rows.values()))
    picture = ElementTree.fromstring(text)
    spaces = {"s": "http://www.w3.org/2000/svg"}
    points = [name for name in UNCERTAIN if "time for" not in name]
    assert len(picture.findall(".//s:circle", spaces)) == len(points)
    assert len(picture.findall(".//s:path[@class='curve']", spaces)) == 2 * 6  # and legends
    assert "href" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text


def test_the_command_keeps_its_results_and_draws_the_plot(tmp_path: Path) -> None:
    picture, out, junit = (tmp_path / name for name in ("odds.svg", "out", "odds.xml"))
    words = ["odds", "--runs", "20", "--seed", "7", "--json", "--out", str(out)]
    words += ["--svg", str(picture), "--junit", str(junit)]
    command = [sys.executable, "-m", "testbed", *words]
    done = subprocess.run(command, capture_output=True, timeout=200)
    assert done.returncode == Exit.AGREED, done.stderr.decode()
    told = Document.model_validate_json(done.stdout)
    assert [result.name for result in told.results] == [case.name for case in CASES.values()]
    assert told == Document.model_validate_json((out / "results.json").read_bytes())
    assert all((Path(result.folder) / CAPTURE).exists() for result in told.results)
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert len(ElementTree.parse(junit).getroot().findall("testcase")) == len(CASES)


@pytest.mark.parametrize("words", [["--runs", "1"], ["--svg", f"{__file__}/odds.svg"]])
def test_wrong_words_are_a_sentence_and_exit_code_2(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "testbed", "odds", *words], capture_output=True)
    assert done.returncode == Exit.USAGE
    assert b"Traceback" not in done.stderr
