"""A mechanism is one file, and nothing asks for one by its name."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.places import PACKAGE
from testbed.stacks.registry import ADAPTERS
from testbed.studies.punch.mechanism import PUNCH
from testbed.studies.punch.mechanisms import MECHANISMS, mechanism

TOY = '''
"""The dialer is lucky."""

from testbed.model.outcome import Outcome
from testbed.model.reason import Passed
from testbed.predict.model import Model, Result
from testbed.studies.punch.mechanism import Mechanism, Play


def luck(setting):
    return Result(Outcome.DIRECT, Passed(setting.dialer, ()))


MECHANISM = Mechanism(
    name="toy",
    transport="udp",
    offers="addresses",
    needs=frozenset({"stun"}),
    modes={"punch": Play(Model(name="luck", protocol="udp", run=luck), ("dialer",))},
    topology="libp2p",
)
'''
USE = """
from testbed.nat.load import catalogue
from testbed.studies.punch.selection import Selection
from testbed.studies.punch.sound import require_sane
from testbed.studies.punch.expectation import prediction
from testbed.studies.punch.external import add_stacks
add_stacks(["mine=true"], "toy")
(cell,) = Selection(["symmetric"], ["symmetric"], ["mine"]).cells()
require_sane(cell)
print(cell.topology, cell.mode, cell.play.model.name, prediction(cell, catalogue()).outcome)
"""
# Where a mechanism may be called by its name: itself and its models, and words of examples.
MAY = (
    r"studies/punch/mechanisms/",
    r"predict/(punching|ice|dcutr|ladder)\.py",
    r"stacks/registry\.py",  # the stacks, each of which has one
    r"bench/stacks\.py",  # what is compared
    r"cli/commands/peer\.py",  # the default of a command
)


def test_a_mechanism_is_added_by_one_file(tmp_path: Path) -> None:
    tree = tmp_path / "testbed"
    shutil.copytree(PACKAGE, tree, ignore=shutil.ignore_patterns("__pycache__", "bench"))
    for name in ("nat-profiles", "images"):
        (tmp_path / name).symlink_to(PACKAGE.parent / name)
    (tree / "studies/punch/mechanisms/toy.py").write_text(TOY, encoding="utf-8")
    command = [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, '.')\n{USE}"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60, check=False
    )
    assert done.stdout == "libp2p punch luck direct\n", done.stderr


def test_nothing_asks_for_a_mechanism_by_its_name() -> None:
    names = MECHANISMS.keys() - ADAPTERS.keys()  # ice is a stack, too
    named = re.compile("|".join((*names, "dcutr_?", "(ladder|punch)_")))
    found = [
        f"{path}:{node.lineno}: {node.value!r}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if "traversal" not in path.parts and not any(re.search(one, path.as_posix()) for one in MAY)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if named.fullmatch(node.value)
    ]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize("one", MECHANISMS.values(), ids=lambda one: one.name)
def test_a_mechanism_has_the_experiment_first_and_a_control(one) -> None:  # type: ignore[no-untyped-def]
    assert next(iter(one.modes)) == PUNCH
    assert one.controls
    assert set(one.modes[PUNCH].senders) == {"dialer", "listener"}


@pytest.mark.parametrize("stack", ADAPTERS.values(), ids=lambda stack: stack.name)
def test_a_stack_has_a_mechanism_that_is_there_and_fits(stack) -> None:  # type: ignore[no-untyped-def]
    one = mechanism(stack.mechanism)
    assert one.transport == stack.transport
    assert stack.needs <= one.needs
    assert stack.roles <= one.roles
