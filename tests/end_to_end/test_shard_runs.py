"""A matrix that is run in shards, each a command of its own, and put together again."""

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import forked_command
import pytest

from testbed.run import judging

OF = 3
MEASURED = ("packets", "packets_cited", "seconds", "peers_s", "up_ms", "connect_ms", "folder")


def patient() -> None:
    """A machine that is never too busy: what is measured does not depend on the others on it."""
    judging.LATE_MS = judging.TOO_LATE_MS = 1e9


def said(*words: str | Path) -> CompletedProcess[str]:
    env = {"COLUMNS": "200"}
    return forked_command.said(*map(str, words), env=env, timeout=240, change=patient)


def matrix(out: Path, *more: str) -> Path:
    done = said(
        *("matrix", "--profiles", "full-cone,symmetric", "--peers", "punch-udp", "--repeat", "2"),
        *("--no-certify", *more, "-o", str(out)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def cells(folder: Path) -> list[dict[str, Any]]:
    """The rows without what is another number in each run of the same cell."""
    rows: list[dict[str, Any]] = json.loads((folder / "results.json").read_text())["results"]
    for row in rows:
        for name in MEASURED:
            row.pop(name, None)
        if row["explanation"]:  # its words have ports and times
            row["explanation"] = row["explanation"]["cause"]
    return rows


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("shards")
    return [matrix(folder / str(n), "--shard", f"{n}/{OF}") for n in range(1, OF + 1)]


@pytest.mark.timeout(600)
def test_shards_merged_are_the_run_that_was_not_cut_cell_by_cell(
    shards: list[Path], tmp_path: Path
) -> None:
    whole = matrix(tmp_path / "whole")
    merged = tmp_path / "merged"
    done = said("merge", *reversed(shards), "-o", merged)
    assert done.returncode == 0, done.stdout + done.stderr
    assert cells(merged) == cells(whole)
    assert sum(len(cells(shard)) for shard in shards) == len(cells(whole))
    compared = said("compare", whole, merged)
    assert compared.returncode == 0, compared.stdout


@pytest.mark.timeout(600)
def test_a_lost_shard_is_an_error_that_names_it_and_nothing_is_written(
    shards: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "merged"
    done = said("merge", shards[0], shards[2], "-o", out)
    assert done.returncode == 3
    assert f"of {OF} shards 2 is missing" in done.stderr
    assert not out.exists()


@pytest.mark.timeout(600)
def test_a_shard_of_another_run_is_an_error_that_names_it(
    shards: list[Path], tmp_path: Path
) -> None:
    stranger = matrix(tmp_path / "stranger", "--shard", f"2/{OF}", "--seed", "7")
    done = said("merge", shards[0], stranger, shards[2], "-o", tmp_path / "merged")
    assert done.returncode == 2
    assert str(stranger) in done.stderr
    assert "another seed: 7, not 0" in done.stderr
