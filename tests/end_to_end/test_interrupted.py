"""A matrix that is interrupted keeps what has ended, and is taken up by the same words."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTBED = ["env", "-u", "TESTBED_SANDBOX", sys.executable, "-m", "testbed"]
WORDS = ("--profiles", "full-cone,symmetric", "--peers", "punch-udp", "--no-certify", "-j", "1")
CELLS = 8
DEADLINE = 60.0  # seconds for the first cell


def said(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TESTBED, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env=os.environ | {"COLUMNS": "200"},
    )


def interrupted(out: Path, number: signal.Signals) -> tuple[int, str]:
    """A matrix that gets a signal when its first cell has ended: its exit code, and its stderr."""
    command = [*TESTBED, "matrix", *WORDS, "-o", str(out)]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stderr is not None
        deadline = time.monotonic() + DEADLINE
        journal = out / "results.jsonl"
        while not (journal.exists() and journal.read_text().count("\n") > 1):
            assert time.monotonic() < deadline, "no cell has ended"
            assert run.poll() is None, run.stderr.read()
            time.sleep(0.05)
        run.send_signal(number)
        told = run.stderr.read()
        return run.wait(), told


@pytest.mark.timeout(300)
def test_after_ctrl_c_the_cells_that_ended_are_reported_compared_and_taken_up(
    tmp_path: Path,
) -> None:
    out = tmp_path / "m"
    code, told = interrupted(out, signal.SIGINT)
    assert code == 130
    assert f"of {CELLS} cells are kept in {out}" in told
    assert "--resume" in told
    kept = (out / "results.jsonl").read_text().splitlines()[1:]
    page = said("report", out)
    assert (page.returncode, "was interrupted" in page.stderr) == (0, True)
    other = said("matrix", *WORDS, "--seed", "7", "-o", out, "--resume")
    assert (other.returncode, "another seed: 0, not 7" in other.stderr) == (2, True)
    whole = said("matrix", *WORDS, "-o", out, "--resume")
    assert whole.returncode in (0, 3), whole.stderr  # 3: this machine was too busy for a cell
    results = json.loads((out / "results.json").read_text())["results"]
    assert len(results) == CELLS
    first = {one["name"]: one for one in map(json.loads, kept)}
    assert all(one == first.get(one["name"], one) for one in results)
    again = said("matrix", *WORDS, "-o", out, "--resume")
    assert (again.returncode, "came to its end" in again.stderr) == (2, True)
    assert said("compare", out, tmp_path / "m" / "results.json").returncode in (0, 3)


@pytest.mark.timeout(300)
def test_a_matrix_that_is_killed_leaves_whole_lines(tmp_path: Path) -> None:
    interrupted(tmp_path / "m", signal.SIGKILL)
    page = said("report", tmp_path / "m")
    assert page.returncode == 0, page.stderr
    assert f"of its {CELLS} cells were not run" in page.stderr
