"""A cause is a word, a statement with its sentence, and a module that is asked in its place."""

import shutil
import subprocess
import sys
from pathlib import Path

from testbed.places import PACKAGE, shared

STATEMENT = '''
"""What is stated of toys."""

from testbed.model.statement import Statement


class Played(Statement):
    """A host only played."""

    node: str
'''
WORDS = '''
"""Sentences about toys."""

from testbed.model.statement import toys as it
from testbed.words.statements.text import Words

WORDS: Words = {it.Played: "{node} played"}
'''
CAUSE = '''
"""Who sends probes that say nothing has played."""

from testbed.explain.causes.finding import Finding, line
from testbed.model.explanation import Cause
from testbed.model.statement.toys import Played


def why(scene):
    for side in scene.sides:
        if tries := scene.tries(side):
            first, played = tries[0].first, Played(side.node)
            return [Finding(Cause.PLAYED, side.node, played, (line(played, first),), (first,))]
    return []
'''
USE = """
from test_explain import symmetric
from testbed.explain.explainer import explain
from testbed.model.outcome import Outcome
from testbed.model.result import Why
from testbed.words import sentence

found = explain(symmetric().evidence(Outcome.NONE))
print(found.cause, found.node, sentence(found.headline), len(found.decisive))
print(Why(cause=found.cause, node="a", headline="x", wrong=found.wrong).cause)
"""


def changed(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def run(tree: Path, *words: str) -> str:
    unit = Path(__file__).parent
    path = f"import sys; sys.path[:0] = ['.', {str(unit)!r}, {str(unit.parent)!r}]\n"
    done = subprocess.run(
        [sys.executable, "-P", "-c", path + words[0], *words[1:]],
        cwd=tree, capture_output=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cause_is_added_as_the_page_for_contributors_says(tmp_path: Path) -> None:
    tree = tmp_path / "testbed"
    shutil.copytree(PACKAGE, tree, ignore=shutil.ignore_patterns("__pycache__", "bench"))
    for name in ("images", "nat-profiles"):
        (tmp_path / name).symlink_to(shared(name))
    word = '    PUNCHING_OFF = "punching_off"'
    changed(tree / "model/explanation.py", word, f'    PLAYED = "played"\n{word}')
    (tree / "model/statement/toys.py").write_text(STATEMENT, encoding="utf-8")
    (tree / "words/statements/toys.py").write_text(WORDS, encoding="utf-8")
    (tree / "explain/causes/toys.py").write_text(CAUSE, encoding="utf-8")
    root = tree / "explain/causes/root.py"
    changed(root, "_ORDER = (\n", "_ORDER = (\n    (Cause.PLAYED,),\n")
    changed(root, "import claims, harness,", "import toys, claims, harness,")
    asked = "    found = unshared.why(scene)"
    changed(root, f"{asked}\n", f"{asked} + toys.why(scene)\n")
    assert run(tmp_path, USE) == "played a a played 1\nplayed\n"
    write = "import runpy; runpy.run_module('testbed.model.result', run_name='__main__')"
    run(tmp_path, write)
    assert '"played"' in (tree / "model/result.schema.json").read_text(encoding="utf-8")
