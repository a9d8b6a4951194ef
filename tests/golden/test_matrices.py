"""What whole matrices gave, a line a pair, and runs and the oracle held to it.

After a wanted change, with the profiles and peers of `SELECTIONS`:

    testbed matrix --profiles PROFILES --peers PEERS -o out/NAME
    testbed compare tests/golden/NAME.json out/NAME
    testbed golden out/NAME -o tests/golden/NAME.json

After a new profile its pairs are enough: `--select '*NEW*'`, and `testbed golden` of the old
file and the new results.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from agreeing import at_odds

from testbed.files import write_json
from testbed.lab.namespaces import Namespaces
from testbed.nat.load import catalogue
from testbed.report.compare import compare
from testbed.report.files import document
from testbed.report.golden import golden
from testbed.report.recorded import read
from testbed.run.matrix import run_matrix
from testbed.run.record import begun
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import prediction
from testbed.studies.punch.selection import DEFAULT, DEFAULT_PEERS, NINE, Selection

HERE = Path(__file__).parent
CATALOGUE = catalogue()
# Of these the gateway alone is another one, which no peer of these matrices asks.
TWINS = {
    "natpmp-odd": "port-restricted",
    "upnp-idle": "port-restricted",
    "upnp-permanent": "linux-home",
}
# With few mappings, or a pool of addresses: conformance/test_unusual_profiles runs cells of them.
FEW = {
    "arbitrary-pool", "paired-pool", "port-set", "port-set-apdm", "quota-apdm", "quota-of-three",
}  # fmt: skip
SELECTIONS = {
    "matrix-default": (DEFAULT, DEFAULT_PEERS),  # default, default
    "matrix-all": (
        tuple(n for n in CATALOGUE if n not in {*TWINS, *FEW}),
        DEFAULT_PEERS,
    ),  # default peers
    "matrix-traversal": (NINE, ("traversal-tcp", "traversal-quic")),  # nine
}
FILES = sorted(HERE.glob("matrix-*.json"))
SAMPLE = 6  # cells of each that are run: all of them are what `.ci/run` and a release are for

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def cells(path: Path) -> dict[str, Cell]:
    profiles, peers = SELECTIONS[path.stem]
    return {cell.pair: cell for cell in Selection(profiles, profiles, peers).cells()}


@pytest.mark.parametrize("name", TWINS)
def test_a_profile_that_is_not_on_record_has_the_nat_of_one_that_is(name: str) -> None:
    mine, twin = CATALOGUE[name], CATALOGUE[TWINS[name]]
    without = replace(mine.behaviour, port_mapping=twin.behaviour.port_mapping)
    assert (mine.engine, without) == (twin.engine, twin.behaviour)
    assert mine.behaviour != twin.behaviour


def test_every_selection_is_on_record() -> None:
    assert {path.stem for path in FILES} == set(SELECTIONS)


@every_file
def test_a_record_has_a_line_for_each_pair_and_is_small(path: Path) -> None:
    kept = read(path)
    assert kept.pairs.keys() == cells(path).keys(), "see this module's docstring"
    assert golden(kept)[0] == path.read_text(), "write it with `testbed golden`"
    assert path.stat().st_size < 500_000


@every_file
def test_the_oracle_predicts_what_is_on_record(path: Path) -> None:
    kept = read(path).pairs
    told = {name: prediction(cell, CATALOGUE).outcome for name, cell in cells(path).items()}
    assert told == {name: kept[name].runs[0].predicted for name in told}


def test_what_two_records_share_they_agree_on() -> None:
    small, large = (read(HERE / f"{name}.json") for name in ("matrix-default", "matrix-all"))
    found = compare(small, large, select=list(small.pairs))
    assert int(found.exit_code) == 0, json.dumps(found.to_json(), indent=2)


@every_file
def test_runs_end_as_on_record_and_for_the_same_cause(path: Path, tmp_path: Path) -> None:
    some = list(cells(path).values())
    chosen = some[len(some) // SAMPLE // 2 :: len(some) // SAMPLE][:SAMPLE]
    rows = run_matrix(
        chosen, CATALOGUE, Namespaces(), tmp_path, jobs=2, facts={}, progress=lambda *_: None
    )
    write_json(tmp_path / "results.json", document(rows, {}, begun("matrix")).to_json())
    assert at_odds(tmp_path) == {}
    found = compare(read(path), read(tmp_path), select=[cell.pair for cell in chosen])
    assert found.compared == len(chosen)
    assert int(found.exit_code) == 0, json.dumps(found.to_json(), indent=2)
