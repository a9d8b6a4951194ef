"""On lossy links a stack is held to the predicted rate: who does not repeat is found by it."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from patience import too_busy

from testbed.lab.namespaces import Namespaces
from testbed.model.breach import BreachKind
from testbed.model.details import PunchDetails
from testbed.model.result import Result, rates, summarize
from testbed.model.topology import Conditions
from testbed.nat.load import catalogue
from testbed.predict import stun as predicted_stun
from testbed.run.matrix import run_matrix
from testbed.stacks import punch_udp, stun
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import prediction

pytestmark = pytest.mark.timeout(300)
CATALOGUE = catalogue()
LOSSY = Conditions(delay_ms=30, jitter_ms=25, loss=0.1)


def repetitions(count: int, out: Path, *excused: BreachKind) -> list[Result]:
    pair = ("port-restricted", "port-restricted")
    cells = [Cell("punch-udp", pair, repeat=n, seed=n, conditions=LOSSY) for n in range(count)]
    rows = run_matrix(
        cells, CATALOGUE, Namespaces(), out, jobs=8, facts={}, progress=lambda *_: None
    )
    failed = [
        (row.reason, row.findings)
        for row in rows
        if row.judgement == "fail" and not all(one.kind in excused for one in row.finding_values)
    ]
    assert failed == []
    if summarize(rows).rates_unsure:
        too_busy(f"of {count} tries so many were late that the others are no sample")
    return rows


def told(rows: Sequence[Result]) -> list[tuple[str, int, int, int]]:
    return [(seen.outcome.value, seen.least, seen.hits, seen.most) for seen in rates(rows)]


def test_a_stack_that_repeats_has_the_rate_of_a_model_that_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = repetitions(24, tmp_path)
    assert not summarize(rows).rates_differ, told(rows)
    monkeypatch.setattr(predicted_stun, "REQUESTS", (0.0,))
    hasty = prediction(Cell("punch-udp", rows[0].profiles, conditions=LOSSY), CATALOGUE, runs=499)
    details = PunchDetails(chances=hasty.chances)
    judged = [row.model_copy(update={"details": details}) for row in rows]
    assert summarize(judged).rates_differ, told(judged)


def test_a_stack_that_asks_and_probes_once_is_found_by_its_rate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stun, "retransmission_waits", lambda: [3.0])
    monkeypatch.setattr(punch_udp, "PROBE_INTERVAL", punch_udp.DEADLINE)
    # Each try of it that came to nothing is red besides.
    rows = repetitions(16, tmp_path, BreachKind.TRIED_LITTLE)
    assert summarize(rows).rates_differ, told(rows)
