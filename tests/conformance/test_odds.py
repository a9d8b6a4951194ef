"""Prediction and birthday probing in labs with real NAT rules: measured rates beside theory.

Everything is measured once.  The interval around each rate is so wide that all of them
together contain a theory that is right with 99 % (`testbed.report.odds`).
"""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from socket import AF_PACKET, SOCK_RAW
from xml.etree import ElementTree

import pytest
from shared import once

from testbed.capture.reader import read
from testbed.capture.recorder import record
from testbed.cli.commands.odds import measured
from testbed.errors import Exit
from testbed.lab.namespaces import Namespaces
from testbed.model.behaviour import Filtering
from testbed.model.packet import Packet
from testbed.plan.planner import plan
from testbed.report.odds import Row, exit_code, judged, table
from testbed.report.odds_plot import plot
from testbed.studies.odds.cases import LIMITS, SMALL, Case, cases
from testbed.studies.odds.runs import WITNESSED, Measured, bench, measure
from testbed.studies.odds.wire import Told, disagreements
from testbed.traversal.hard_nat import Birthday, Kind, Prediction, decode

RUNS, SEED, JOBS = 200, 5128, 8
CASES = {case.name: case for case in cases()}
CONTROLS = [name for name in CASES if name.startswith("control")]
UNCERTAIN = [name for name, case in CASES.items() if 0 < case.theory < 1]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    found = once(tmp_path_factory, "odds", lambda: measured(cases(), RUNS, SEED, JOBS))
    return {row.case.name: row for row in found}


@pytest.mark.parametrize("name", CASES)
def test_the_measured_rate_agrees_with_theory(name: str, rows: dict[str, Row]) -> None:
    assert rows[name].exit_code is Exit.AGREED, rows[name].to_json()


def test_each_strategy_is_measured_at_three_sizes_or_more() -> None:
    sizes = Counter(
        (type(case.strategy).__name__, case.quota is not None)
        for case in CASES.values()
        if case.name in UNCERTAIN
    )
    assert min(sizes.values()) >= 3
    assert set(sizes) == {("Birthday", False), ("Birthday", True), ("Prediction", False)}
    assert len({c.hard.ports.size for c in CASES.values() if isinstance(c.strategy, Birthday)}) >= 3


def test_every_packet_is_within_the_limits(rows: dict[str, Row]) -> None:
    for row in rows.values():
        assert isinstance(row.measured, Measured)
        assert 0 < row.measured.most_packets <= row.case.strategy.limits.packets
        assert row.measured.most_packets <= row.case.strategy.limits.unasked + 4


# Negative controls: what is not so must differ


def _with(row: Row, case: Case) -> Exit:
    """The judgement if ``case`` had been measured, by a machine that was never late."""
    assert isinstance(row.measured, Measured)
    return replace(row, case=case, measured=replace(row.measured, late=0.0)).exit_code


@pytest.mark.parametrize("name", [name for name in UNCERTAIN if CASES[name].theory > 0.3])
def test_a_theory_of_half_or_twice_the_size_is_rejected(name: str, rows: dict[str, Row]) -> None:
    row, plan_ = rows[name], CASES[name].strategy
    if isinstance(plan_, Prediction):
        half = replace(plan_, candidates=plan_.candidates // 2)
    else:
        half = replace(plan_, probes=plan_.probes // 2)
        if plan_.probes > plan_.limits.unasked:  # the time bounds it, not the number
            half = replace(plan_, probes=plan_.limits.unasked // 2)
    assert _with(row, replace(row.case, strategy=half)) is Exit.DIFFERS


def test_a_quota_forgotten_in_theory_is_noticed(rows: dict[str, Row]) -> None:
    beyond = [row for row in rows.values() if row.case.quota and row.case.x > row.case.quota]
    assert len(beyond) == 2
    for row in beyond:
        assert _with(row, replace(row.case, quota=None)) is Exit.DIFFERS
        assert _with(row, replace(row.case, quota=2 * 16)) is Exit.DIFFERS


def test_time_that_is_forgotten_in_theory_is_noticed(rows: dict[str, Row]) -> None:
    (row,) = (row for row in rows.values() if row.case.x > row.case.strategy.limits.unasked)
    patient = replace(row.case.strategy, limits=LIMITS)
    assert _with(row, replace(row.case, strategy=patient)) is Exit.DIFFERS


@pytest.mark.parametrize("name", CONTROLS)
def test_where_nothing_can_hit_nothing_does(name: str, rows: dict[str, Row]) -> None:
    row = rows[name]
    assert isinstance(row.measured, Measured)
    assert row.measured.hits == 0
    sound = replace(row.case, silent=False, hard=replace(row.case.hard, ports=SMALL_RANGE))
    assert sound.theory > 0.7
    assert _with(row, sound) is Exit.DIFFERS


SMALL_RANGE = next(c.hard.ports for c in cases() if c.hard.ports.first == SMALL.first)


# One capture, and sides that lie


@pytest.fixture(scope="module")
def witnessed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Packet], Measured]:
    """Some runs of a case that mostly hits, all on record."""
    case = CASES["birthday, 2048 ports, 16 sockets / 192"]
    path = tmp_path_factory.mktemp("odds") / "capture.pcapng"
    with Namespaces().start(plan(bench(1), case.profiles(), seed=SEED)) as lab:
        places = [vantage for vantage in lab.plan.vantages if vantage.node in ("a-0", "b")]
        with record(lambda v: lab.socket(v.node, AF_PACKET, SOCK_RAW), places, path):
            found = measure(lab, case, WITNESSED, SEED)
    return read(path), found


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
    assert sum("a hit by its sides, but not on the wire" in one for one in said) == (
        WITNESSED - found.hits
    )
    assert sum("packets by its sides' count" in one for one in said) == WITNESSED
    stranger = Told(bytes(16), True, 0, 0)
    assert list(disagreements([stranger], packets))


def test_a_nat_with_an_open_filter_needs_no_guess() -> None:
    """The easy side hears the hard one's first packet: every run is a hit."""
    case = CASES["control: another range of ports / 192"]
    profiles = case.profiles()
    easy = profiles["easy"]
    udp = replace(easy.behaviour.udp, filtering=Filtering.ENDPOINT_INDEPENDENT)
    profiles["easy"] = replace(easy, behaviour=replace(easy.behaviour, udp=udp))
    with Namespaces().start(plan(bench(1), profiles, seed=SEED)) as lab:
        found = measure(lab, case, 20, SEED)
    assert found.hits == 20


# Judgement, table, plot, command


def _row(hits: int, late: float = 0.0, wrong: tuple[str, ...] = ()) -> Row:
    case = Case("birthday, a case", 64, Birthday(16, 64, SMALL, LIMITS), CASES[UNCERTAIN[0]].hard)
    return Row(case, Measured(200, hits, late, 70, wrong), 19)


def test_lateness_makes_only_a_difference_inconclusive() -> None:
    assert _row(80).exit_code is Exit.AGREED
    assert _row(80, late=5.0).exit_code is Exit.AGREED
    assert _row(120).exit_code is Exit.DIFFERS
    assert _row(120, late=5.0).exit_code is Exit.INCONCLUSIVE
    assert _row(80, wrong=("run 3: a hit by its sides, but not on the wire",)).exit_code is (
        Exit.DIFFERS
    )


def test_what_could_not_be_measured_is_inconclusive_and_a_difference_outweighs_it() -> None:
    lost = Row(_row(0).case, "no lab", 19)
    assert lost.exit_code is Exit.INCONCLUSIVE
    assert exit_code([lost, _row(80)]) is Exit.INCONCLUSIVE
    assert exit_code([lost, _row(150)]) is Exit.DIFFERS
    assert "no lab" in str(table([lost]).caption)
    assert plot([lost, replace(lost, case=lost.case.at(9))])


def test_more_rows_have_wider_intervals() -> None:
    one, many = (
        judged([_row(0).case] * n, [Measured(200, 80, 0.0, 1)] * n)[0].bounds for n in (1, 30)
    )
    assert one is not None
    assert many is not None
    assert many[0] < one[0] < 0.4 < one[1] < many[1]


def test_the_plot_has_every_curve_and_refers_to_nothing(rows: dict[str, Row]) -> None:
    text = plot(list(rows.values()))
    picture = ElementTree.fromstring(text)
    spaces = {"s": "http://www.w3.org/2000/svg"}
    points = [name for name in UNCERTAIN if "time for" not in name]
    assert len(picture.findall(".//s:circle", spaces)) == len(points)
    assert len(picture.findall(".//s:path[@class='curve']", spaces)) == 2 * 6  # and legends
    assert "href" not in text
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text


def test_the_command_writes_rows_and_plot(tmp_path: Path) -> None:
    picture = tmp_path / "odds.svg"
    words = ["odds", "--runs", "20", "--seed", "7", "--json", "--svg", str(picture)]
    command = [sys.executable, "-m", "testbed", *words]
    done = subprocess.run(command, capture_output=True, timeout=200)
    assert done.returncode == Exit.AGREED, done.stderr.decode()
    told = json.loads(done.stdout)
    assert [row["case"] for row in told] == list(CASES)
    assert {row["verdict"] for row in told} == {"agreed"}
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")
    assert done.stderr.decode().count(" of 20") >= len(CASES)


@pytest.mark.parametrize("words", [["--runs", "1"], ["--svg", f"{__file__}/odds.svg"]])
def test_wrong_words_are_a_sentence_and_exit_code_2(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "testbed", "odds", *words], capture_output=True)
    assert done.returncode == Exit.USAGE
    assert b"Traceback" not in done.stderr
