"""What a user writes in Python: one cell, and a study of one's own (tests/example)."""

import json
import subprocess
import sys
from pathlib import Path

from testbed.model.result import Document

EXAMPLE = Path(__file__).parents[1] / "example"


def done(*words: str | Path) -> str:
    """What a program says; it must end well."""
    command = [sys.executable, *map(str, words)]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_one_cell_is_fifteen_lines(tmp_path: Path) -> None:
    program = EXAMPLE / "one_cell.py"
    lines = [line for line in program.read_text(encoding="utf-8").splitlines() if line]
    assert len(lines) <= 15
    assert done(program, tmp_path / "out") == "pass direct learned_address\n"
    assert (tmp_path / "out/capture.pcapng").stat().st_size > 0


def test_a_study_of_ones_own_has_reports_and_is_explained(tmp_path: Path) -> None:
    out, junit = tmp_path / "out", tmp_path / "mine.xml"
    study = ("-m", "testbed", "study", EXAMPLE / "my_study.py", "full-cone", "symmetric")
    told = done(*study, "--json", "--repeat", "2", "--out", out, "--junit", junit)
    found = Document.model_validate_json(told)
    ends = {one.name: (one.judgement.value, one.measured) for one in found.results}
    assert ends == {
        **{f"my-study/full-cone/{n}": ("pass", "kept") for n in range(2)},
        **{f"my-study/symmetric/{n}": ("pass", "changed") for n in range(2)},
    }
    assert junit.read_text(encoding="utf-8").count("<testcase") == 4
    assert "my-study/symmetric" in (out / "report.html").read_text(encoding="utf-8")
    words = ("-m", "testbed", "explain", "my-study/symmetric/1", "--out", out, "--json")
    explanation = json.loads(done(*words))
    assert (explanation["cause"], explanation["measured"]) == ("reachable", "changed")
    assert explanation["diagram"]["messages"]


def test_shards_of_a_study_of_ones_own_are_merged(tmp_path: Path) -> None:
    study = ("-m", "testbed", "study", EXAMPLE / "my_study.py", "full-cone", "symmetric")
    parts = [tmp_path / part for part in "12"]
    for number, part in enumerate(parts, 1):
        done(*study, "--shard", f"{number}/2", "--out", part)
    told = done("-m", "testbed", "merge", *parts, "--out", tmp_path / "whole", "--json")
    found = Document.model_validate_json(told)
    assert [one.name for one in found.results] == ["my-study/full-cone/0", "my-study/symmetric/0"]
