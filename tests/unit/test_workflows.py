"""The workflows: linted where `.ci/validators` was run, and without a way to pass what failed."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LINTER = ROOT / "out" / "validators" / "actionlint"


def linted(*files: Path) -> subprocess.CompletedProcess[str]:
    if not LINTER.is_file():
        pytest.skip("NO LINTER, the workflows stay unlinted: run .ci/validators")
    words = [str(LINTER), "-no-color", *map(str, files)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)


def test_a_broken_workflow_is_caught(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    text = "on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    needs: nobody\n    steps: []\n"
    broken.write_text(text)
    done = linted(broken)
    assert done.returncode == 1
    assert "nobody" in done.stdout


def test_the_linter_finds_nothing_in_ours() -> None:
    done = linted(*WORKFLOWS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_no_workflow_continues_on_errors(path: Path) -> None:
    assert "continue-on-error" not in path.read_text()
