"""`testbed explain`: from the name of a cell to the packets that decided it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import forked_command
import pytest
from made_results import document, result

from testbed.capture.reader import read
from testbed.errors import UsageError

CELL = "punch-udp/symmetric--port-restricted"


def said(
    *words: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    return forked_command.said(*words, env={"COLUMNS": "100"} | (env or {}), cwd=cwd)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A matrix of two cells, run once for all tests here."""
    out = tmp_path_factory.mktemp("m") / "out" / "matrix"
    done = said(
        *("matrix", "--profiles", "symmetric,port-restricted", "--peers", "punch-udp"),
        *("--select", CELL, "--select", "punch-udp/port-restricted--port-restricted"),
        *("--no-certify", "-o", str(out)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture
def folder(matrix: Path, tmp_path: Path) -> Path:
    """A cell's folder that a test may spoil."""
    return shutil.copytree(matrix / "cells" / CELL / "0", tmp_path / "cell")


def explained(*words: str, **more: Any) -> str:
    done = said("explain", *words, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_cell_is_found_by_folder_by_name_and_by_results(matrix: Path) -> None:
    told = explained(CELL, "-o", str(matrix))
    assert "measured none, predicted none" in told
    assert explained(f"{CELL}/0", "-o", str(matrix)) == told
    assert explained(CELL, "-o", str(matrix / "results.json")) == told
    assert explained(str(matrix / "cells" / CELL / "0")) == told


def test_the_matrix_that_was_made_last_is_where_names_are_looked_up(matrix: Path) -> None:
    assert CELL in explained(CELL, cwd=matrix.parents[1])


def test_a_matrix_may_move(matrix: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(matrix, tmp_path / "artifact")
    told = explained(CELL, "-o", str(moved / "results.json"))
    results = json.loads((moved / "results.json").read_text())
    for cell in results["results"]:
        cell["folder"] = f"/nonexistent/{cell['name']}"
    (moved / "results.json").write_text(json.dumps(results))
    assert str(moved) in explained(CELL, "-o", str(moved / "results.json"))
    assert "cause" in told


def test_of_repeats_and_tries_the_newest_is_explained(matrix: Path, tmp_path: Path) -> None:
    cells = tmp_path / "m" / "cells"
    old, new = cells / CELL / "1", cells / CELL / "0" / "try-2"
    for place, age in ((old, 1000), (cells / CELL / "0", 500), (new, 0)):
        shutil.copytree(matrix / "cells" / CELL / "0", place)
        file = place / "cell.json"
        os.utime(file, (file.stat().st_atime, file.stat().st_mtime - age))
    rows = [result(CELL, n, folder=str(folder)) for n, folder in ((0, new), (1, old))]
    (tmp_path / "m" / "results.json").write_text(document(rows).model_dump_json())
    assert f"packets  {new}" in explained(CELL, "-o", str(tmp_path / "m"))
    assert f"packets  {old}" in explained(f"{CELL}/1", "-o", str(tmp_path / "m"))


def test_the_decisive_packets_are_in_the_capture_and_the_filter_finds_them(matrix: Path) -> None:
    told = explained(CELL, "-o", str(matrix))
    [command] = [line.strip() for line in told.splitlines() if "tshark -r" in line]
    words = shlex.split(command)
    numbers = [int(number) for number in re.findall(r"\d+", words[-1])]
    assert numbers
    packets = {packet.number: packet for packet in read(Path(words[2]))}
    assert set(numbers) <= set(packets)
    cited = json.loads(explained(CELL, "-o", str(matrix), "--json"))["decisive"]
    for cite in cited:
        packet = packets[cite["number"]]
        assert (str(packet.source), str(packet.destination), packet.vantage) == (
            *(cite["source"], cite["destination"], cite["vantage"]),
        )
    if shutil.which("tshark"):
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        assert [int(line.split()[0]) for line in done.stdout.splitlines()] == sorted(numbers)


def test_json_is_the_explanation_that_the_run_left(matrix: Path) -> None:
    told = json.loads(explained(CELL, "-o", str(matrix), "--json"))
    left = json.loads((matrix / "cells" / CELL / "0" / "explanation.json").read_text())
    assert told == left


def test_packets_lists_every_packet_of_the_capture_once(matrix: Path) -> None:
    told = explained(CELL, "-o", str(matrix), "--packets")
    hops = [line for line in told.splitlines() if line.startswith(" " * 12)]
    listed = [int(n) for line in hops for n in re.findall(r"(?<!by )#(\d+)", line[:50])]
    capture = read(matrix / "cells" / CELL / "0" / "capture.pcapng")
    assert {p.number for p in capture if p.ttl} <= set(listed)


def test_what_is_piped_has_no_colours_and_fits_eighty_columns(matrix: Path) -> None:
    told = explained(CELL, "-o", str(matrix), env={"COLUMNS": "80"})
    assert "\x1b" not in told
    diagram = told[: told.index("packets  ")]
    assert max(map(len, diagram.splitlines())) <= 80


def test_a_stream_in_ascii_gets_ascii(matrix: Path) -> None:
    words = [sys.executable, "-m", "testbed", "explain", CELL, "-o", str(matrix), "--packets"]
    env = os.environ | {"COLUMNS": "100", "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, capture_output=True, env=env, timeout=120, check=True)
    assert done.stdout.isascii()
    assert b"\\u" not in done.stdout


def test_an_unknown_cell_is_answered_with_the_nearest(matrix: Path) -> None:
    done = said("explain", "punch-udp/symetric--port-restricted", "-o", str(matrix))
    assert done.returncode == 2
    assert f"did you mean {CELL}" in done.stderr
    by_part = said("explain", "port-restricted--port-restricted", "-o", str(matrix))
    assert "did you mean punch-udp/port-restricted--port-restricted" in by_part.stderr


def test_without_a_matrix_the_remedy_is_to_make_one(tmp_path: Path) -> None:
    done = said("explain", CELL, cwd=tmp_path)
    assert done.returncode == 2
    assert "testbed matrix" in done.stderr


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("cell.json", "{"),
        ("result.json", "[]"),
        ("capture.pcapng", "not packets"),
        ("events.jsonl", "{}\n"),
        ("conntrack.jsonl", "{}\n"),
        ("drops.json", "[1]"),
        ("run.json", '{"start_ns": "noon"}'),
    ],
)
def test_a_damaged_file_is_named(folder: Path, file: str, text: str) -> None:
    (folder / file).write_text(text)
    done = said("explain", str(folder))
    assert done.returncode == UsageError.exit_code, done.stdout + done.stderr
    assert str(folder / file) in done.stderr
    assert "Traceback" not in done.stderr


def test_results_that_are_none_are_named(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"cells": 3}')
    done = said("explain", CELL, "-o", str(tmp_path))
    assert done.returncode == 2
    assert "results.json: format: Field required" in done.stderr


def test_without_its_packets_a_cell_is_not_explained_and_the_exit_code_says_so(
    folder: Path,
) -> None:
    for name in ("capture.pcapng", "conntrack.jsonl", "drops.json", "events.jsonl", "run.json"):
        (folder / name).unlink()
    done = said("explain", str(folder))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "missing" in done.stdout
    assert "tshark" not in done.stdout


# An oracle that takes every pair for direct: the matrix is red.
_WRONG = """
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


def test_from_a_red_cell_to_the_packet_in_two_commands(tmp_path: Path) -> None:
    matrix = subprocess.run(
        [
            *("env", "-u", "TESTBED_SANDBOX", sys.executable, "-c", _WRONG, "matrix"),
            *("--profiles", "symmetric,port-restricted", "--peers", "punch-udp"),
            *("--select", CELL, "--no-certify"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"COLUMNS": "80"},
        cwd=tmp_path,
    )
    assert matrix.returncode == 1, matrix.stdout + matrix.stderr
    assert "mapping_changed" in matrix.stdout
    command = re.search(r"testbed (explain \S+)", matrix.stdout)
    assert command, matrix.stdout
    told = explained(*shlex.split(command[1])[1:], cwd=tmp_path)
    assert "29.0.0.2" in told
    assert "dropped: unsolicited" in told
    assert "frame.number in {" in told


def test_a_second_matrix_in_the_same_folder_leaves_no_cell_of_the_first(tmp_path: Path) -> None:
    out = tmp_path / "matrix"
    words = ("--peers", "punch-udp", "--no-controls", "--no-certify", "-o", str(out))
    done = said("matrix", "--profiles", "full-cone,symmetric", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    done = said("matrix", "--profiles", "symmetric", *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "say --replace" in done.stderr
    done = said("matrix", "--profiles", "symmetric", *words, "--replace")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"testbed: {out}: replaces the matrix of " in done.stderr
    left = out / "cells/punch-udp/symmetric--symmetric/0"  # with its tries, on a busy machine
    assert all(file.is_relative_to(left) for file in out.rglob("cell.json"))
    assert (left / "cell.json").exists()
    gone = said("explain", "punch-udp/full-cone--symmetric", "-o", str(out))
    assert (gone.returncode, gone.stdout) == (2, "")
    assert "there is no cell" in gone.stderr
