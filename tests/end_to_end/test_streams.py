"""Whatever becomes of the output, the exit code tells the truth about the work."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess

import pytest

TESTBED = ["env", "-u", "TESTBED_SANDBOX", sys.executable, "-m", "testbed"]


def shell(line: str, cwd: Path, program: Sequence[str] = TESTBED) -> CompletedProcess[str]:
    """Run ``line``, in which the word ``testbed`` calls ``program``, in bash.

    The program's words are arguments of the shell, never text within the line: the
    path of this checkout may hold spaces, or the word ``testbed`` itself.
    """
    define = 'program=("$@"); testbed() { "${program[@]}" "$@"; }'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{define}\n{line}", "bash", *program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
    )


def test_the_program_may_lie_in_any_folder(tmp_path: Path) -> None:
    """A clone is called testbed most of the time, and its path may hold spaces and quotes."""
    program = tmp_path / "testbed of 'mine'" / "testbed"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$# $1"\n')
    program.chmod(0o755)
    done = shell("testbed 'two words' | cat", tmp_path, [str(program)])
    assert (done.stdout, done.stderr) == ("1 two words\n", "")


CELL = "run --peer punch-udp -a full-cone -b full-cone -o out"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("testbed plan >&-", 0),
        ("testbed plan <&- >&- 2>&-", 0),
        ("testbed plan nowhere 2>&-", 2),
        ("testbed plan nowhere 2>/dev/full", 2),
        ("testbed plan | head -1", 0),
        ("testbed plan >/dev/full", 3),
        ("testbed --help | true", 0),
        ("testbed nat list | true", 0),
        ("testbed doctor --json | true", 0),
        (f"testbed {CELL} >&-", 0),
        (f"testbed {CELL} <&- >&- 2>&-", 0),
        (f"testbed {CELL} --json | true", 0),
        (f"testbed {CELL} >/dev/full", 3),
        ("testbed matrix --profiles full-cone --peers punch-udp --no-certify | true", 0),
    ],
)
def test_the_exit_code_is_that_of_the_work_whatever_becomes_of_the_words(
    line: str, code: int, tmp_path: Path
) -> None:
    done = shell(line, tmp_path)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
    if code == 3:
        assert "the output was lost: No space left on device" in done.stderr


def test_a_red_cell_stays_red_when_nobody_reads_it(tmp_path: Path) -> None:
    (tmp_path / "red.py").write_text(_WRONG_ORACLE)
    red = ["env", "-u", "TESTBED_SANDBOX", sys.executable, "red.py"]
    line = "testbed run --peer punch-udp -a symmetric -b symmetric -o out"
    for redirection in (">&-", "| true", ">/dev/full"):
        done = shell(f"{line} {redirection}", tmp_path, red)
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr


_WRONG_ORACLE = """
from testbed.studies.punch import expectation
from testbed.run import judging
from testbed.model.outcome import Outcome
from testbed.model.reason import UpgradesOff
from testbed.model.prediction import Prediction
judging.LATE_MS = judging.TOO_LATE_MS = 1e9  # however busy this machine is
expectation.predict = lambda *a, **k: Prediction(Outcome.DIRECT, UpgradesOff(), ())
from testbed.cli import main
main()
"""


@pytest.mark.parametrize("error", ["ZeroDivisionError('odd')", "BrokenPipeError(32, 'odd')"])
@pytest.mark.parametrize("debug", ["", "1"])
def test_what_nobody_foresaw_is_inconclusive_and_asks_to_be_reported(
    error: str, debug: str
) -> None:
    program = f"""
from testbed.cli import labs, main
def fail(*a, **k):
    raise {error}
labs.built = fail
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "plan"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"TESTBED_DEBUG": debug},
    )
    assert done.returncode == 3
    assert f"testbed: internal error: {error.split('(')[0]}: " in done.stderr
    assert "open an issue" in done.stderr
    assert ("Traceback" in done.stderr) == bool(debug)


def test_a_full_disk_is_said_and_inconclusive(tmp_path: Path) -> None:
    """Full by the time of the report: as small a disk as possible, and all of it taken."""
    program = f"""
import os
from pathlib import Path
from testbed.lab import kernel
kernel.unshare(kernel.CLONE_NEWNS)
kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
kernel.mount("small", {str(tmp_path)!r}, "tmpfs", 0, "size=16k")
os.chdir({str(tmp_path)!r})
from testbed.cli.commands import cells
whole = cells.run_matrix
def run_matrix(*words, **more):
    rows = whole(*words, **more)
    with open("filler", "wb", 0) as filler:
        while True:
            try:
                filler.write(bytes(512))
            except OSError:
                return rows
cells.run_matrix = run_matrix
from testbed.cli import main
main()
"""
    words = "matrix --profiles full-cone --peers punch-udp --no-controls --no-certify -o out"
    done = subprocess.run(
        [*TESTBED[:4], "-c", program, *words.split()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "was not written: No space left on device" in done.stderr
    assert "remedy: make room" in done.stderr
    assert "Traceback" not in done.stderr
