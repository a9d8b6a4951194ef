"""Every cell of a matrix is explained, and the packets are what is said of them.

Of the whole catalogue, run before by `testbed matrix --profiles all --peers all`, where
EXPLAIN_CELLS names its folder of cells; else each profile once.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from shared import once
from test_explain_corpus import read_back

from testbed.evidence.account import WireAccount
from testbed.explain.conformance import violations
from testbed.explain.explainer import explain
from testbed.explain.scene import Scene
from testbed.lab.namespaces import Namespaces
from testbed.model.explanation import Cause, Evidence, Wrong
from testbed.model.verdict import Judgement
from testbed.nat.load import catalogue
from testbed.run.matrix import run_matrix
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.evidence import load_evidence

PEERS = ("punch-udp", "punch-tcp")
PARTNER = "symmetric"  # beside which most cells fail
JOBS = 8


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    if given := os.environ.get("EXPLAIN_CELLS"):
        return sorted(path.parent for path in Path(given).glob("**/result.json"))
    out = tmp_path_factory.mktemp("matrix")
    return once(tmp_path_factory, "explained-matrix", lambda: _run(out))


def _run(out: Path) -> list[Path]:
    profiles = catalogue()
    cells = [
        Cell(PEERS[index % len(PEERS)], (name, PARTNER)) for index, name in enumerate(profiles)
    ]
    rows = run_matrix(
        cells, profiles, Namespaces(), out, jobs=JOBS, facts=None, progress=lambda *_: None
    )
    return [Path(row.folder) for row in rows]


def _runs(folders: list[Path]) -> Iterator[Evidence]:
    """One after another: thousands of captures are not held in memory."""
    assert folders
    for folder in folders:
        yield load_evidence(folder)


def test_every_cell_has_a_cause_and_its_citations_are_there(folders: list[Path]) -> None:
    for whole in _runs(folders):
        found = explain(whole)
        assert found.cause is not Cause.UNKNOWN, (whole.name, found.missing)
        read_back(whole)


def test_nobody_is_wrong_where_all_is_as_predicted(folders: list[Path]) -> None:
    for whole in _runs(folders):
        if whole.judgement is not Judgement.PASS:
            continue
        account = WireAccount.of(whole)
        assert explain(whole, account).wrong is Wrong.NOBODY
        assert violations(Scene(whole, account)) == (), whole.name
