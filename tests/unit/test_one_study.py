"""A study is one file, in the tree or anywhere else; the engine, the reports and merge take it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.errors import UsageError
from testbed.places import PACKAGE
from testbed.studies import found

TOY = """
from testbed.studies.base import Study, judged, nat_cases

def run(case, site):
    site.folder.mkdir(parents=True)
    return judged("toy", case, site.folder, "played", "played", reason="it is a toy")

STUDY = Study("toy", run, cases=nat_cases("toy"))
"""
USE = """
from pathlib import Path
from testbed.lab.namespaces import Namespaces
from testbed.model.result import Document
from testbed.nat.load import named
from testbed.report.files import document
from testbed.report.html import page
from testbed.report.markdown import summary
from testbed.report.pictures import picture_of
from testbed.run.engine import run_study
from testbed.run.record import begun
from testbed.studies import found
from testbed.studies.base import Request

study = found.study("toy")
cases = study.cases(Request(named(["symmetric", "full-cone"]), repeat=2))
results = run_study(study, cases, Namespaces(), Path("o"), jobs=2, progress=lambda *_: None)
made = document(results, {}, begun("toy"))
assert Document.model_validate_json(made.model_dump_json()) == made
assert "toy/symmetric" in summary(made) and "toy/symmetric" in page(made, Path("o"))
picture_of(made).drawn(made, 1.0)
print([one.name for one in results], {one.judgement.value for one in results})
"""


def test_a_study_is_added_by_one_file(tmp_path: Path) -> None:
    tree = tmp_path / "testbed"
    shutil.copytree(PACKAGE, tree, ignore=shutil.ignore_patterns("__pycache__", "bench"))
    for name in ("nat-profiles", "images"):
        (tmp_path / name).symlink_to(PACKAGE.parent / name)
    (tree / "studies/toy.py").write_text(TOY, encoding="utf-8")
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, '.')\n{USE}"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert done.stdout == (
        "['toy/symmetric/0', 'toy/symmetric/1', 'toy/full-cone/0', 'toy/full-cone/1'] {'pass'}\n"
    ), done.stderr


def test_a_file_of_the_users_is_a_study_wherever_it_is(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(TOY, encoding="utf-8")
    assert found.study(str(file)).name == "toy"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file"),
        ("STUDY = 7", "STUDY is missing"),
        (TOY.replace(', cases=nat_cases("toy")', ""), "cannot say its cases"),
        ("import nothing_there", "ModuleNotFoundError"),
        ("def (", "SyntaxError"),
    ],
)
def test_a_file_that_is_no_study_is_refused_by_name(
    tmp_path: Path, text: str | None, words: str
) -> None:
    file = tmp_path / "mine.py"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words) as refused:
        found.study(str(file))
    assert "mine.py" in str(refused.value)


def test_an_unknown_name_gets_the_nearest_and_every_study_of_the_tree_is_found() -> None:
    with pytest.raises(UsageError, match="unknown study 'nothing'"):
        found.study("nothing")
    assert {"autonat", "odds"} <= found.known().keys()
