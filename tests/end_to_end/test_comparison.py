"""`testbed matrix`, `golden` and `compare` together, as a CI job uses them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import forked_command
import pytest

TESTBED = ["env", "-u", "TESTBED_SANDBOX", sys.executable]
# An oracle that expects everything to go direct, and a machine that is never too busy.
WRONG_ORACLE = """
from testbed.studies.punch import expectation
from testbed.run import judging
from testbed.model.outcome import Outcome
from testbed.model.reason import UpgradesOff
from testbed.model.prediction import Prediction
judging.LATE_MS = judging.TOO_LATE_MS = 1e9
expectation.predict = lambda *a, **k: Prediction(Outcome.DIRECT, UpgradesOff(), ())
from testbed.cli import main
main()
"""


def said(*words: str | Path, program: str = "") -> subprocess.CompletedProcess[str]:
    if not program:
        return forked_command.said(*map(str, words), env={"COLUMNS": "200"})
    return subprocess.run(
        [*TESTBED, "-c", program, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"COLUMNS": "200"},
    )


def matrix(out: Path, program: str = "") -> int:
    done = said(
        *("matrix", "--profiles", "full-cone,symmetric", "--peers", "punch-udp", "--no-certify"),
        *("--no-controls", "--markdown", out / "summary.md", "--junit", out / "junit.xml"),
        *("-o", out),
        program=program,
    )
    assert "Traceback" not in done.stderr
    return done.returncode


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sound")
    assert matrix(out) == 0
    return out


def test_a_run_agrees_with_the_golden_file_that_was_made_of_it(sound: Path, tmp_path: Path) -> None:
    kept = tmp_path / "golden.json"
    assert said("golden", sound, "-o", kept).returncode == 0
    done = said("compare", kept, sound)
    assert (done.returncode, done.stdout) == (0, "4 pairs compared, no difference\n")


def test_what_got_worse_is_told_and_explained_wherever_one_looks(
    sound: Path, tmp_path: Path
) -> None:
    assert matrix(tmp_path, WRONG_ORACLE) == 1
    done = said("compare", sound, tmp_path)
    assert done.returncode == 1
    folder = tmp_path / "cells/punch-udp/symmetric--symmetric/0"
    for words in ("worse: 1\n", "judgement pass -> fail; predicted none -> direct", str(folder)):
        assert words in done.stdout
    (row,) = (
        row
        for row in json.loads((tmp_path / "results.json").read_text())["results"]
        if row["judgement"] == "fail"
    )
    failure = ElementTree.parse(tmp_path / "junit.xml").getroot().find("testcase/failure")
    assert failure is not None
    assert row["explanation"]["headline"] in (failure.get("message") or "")
    assert f"testbed explain {folder}" in (failure.text or "")
    page = (tmp_path / "summary.md").read_text()
    assert page.startswith("## testbed matrix: 3 of 4 cells as predicted, 1 differ")
    assert row["explanation"]["cause"] in page


def test_a_damaged_file_and_an_inconclusive_one_have_their_own_codes(
    sound: Path, tmp_path: Path
) -> None:
    results = json.loads((sound / "results.json").read_text())
    results["results"][0] |= {"judgement": "inconclusive", "measured": None}
    unclear = tmp_path / "unclear.json"
    unclear.write_text(json.dumps(results))
    assert said("compare", sound, unclear).returncode == 3
    results["results"][1]["judgement"] = "fine"
    unclear.write_text(json.dumps(results))
    done = said("compare", sound, unclear)
    assert (done.returncode, "results[1].judgement" in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr
