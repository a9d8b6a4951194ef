"""Each check of the verdict is red somewhere: a test plants what it looks for, in three topologies.

The tests of `test_verdict`, `test_upgrade` and `test_rent_read` are run once more in each world,
and all that the checks have found is noted.
"""

import ast
import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import test_rent_read
import test_upgrade
import test_verdict
from made_worlds import WORLDS, world

import testbed.verdict
from testbed.model.breach import Breach
from testbed.model.fault import Fault
from testbed.verdict.sanity import Lateness

FACTS = {kind.__name__: kind for kind in (*get_args(Breach), *get_args(Fault))}
MODULES = (test_verdict, test_upgrade, test_rent_read)
ROOM = Path(testbed.verdict.__file__).parent


def looked_for() -> set[str]:
    """The breaches and faults that modules of the verdict make, by the names of their types."""
    calls = (
        node.func.id
        for path in ROOM.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    )
    return {name for name in calls if name in FACTS}


def noted(value: Any) -> Iterator[str]:
    """The facts in what a check has returned, however deep."""
    if type(value).__name__ in FACTS:
        yield type(value).__name__
    elif isinstance(value, list | tuple):
        for one in value:
            yield from noted(one)
    elif isinstance(value, Lateness):
        yield from noted([value.fault, value.breach])
    elif hasattr(value, "because"):
        yield from noted([*value.findings, *getattr(value.because, "faults", ())])


def runs(module: ModuleType) -> Iterator[Callable[[], None]]:
    """Each test of a module with each of its parameters; such as need a fixture are left out."""
    for name, test in vars(module).items():
        if not name.startswith("test_"):
            continue
        axes = []
        for mark in getattr(test, "pytestmark", ()):
            names = mark.args[0] if isinstance(mark.args[0], tuple) else (mark.args[0],)
            values = (one if isinstance(mark.args[0], tuple) else (one,) for one in mark.args[1])
            axes.append([dict(zip(names, one, strict=True)) for one in values])
        for chosen in product(*axes):
            words: dict[str, Any] = {key: one for part in chosen for key, one in part.items()}
            if set(inspect.signature(test).parameters) == set(words):
                yield lambda test=test, words=words: test(**words)  # type: ignore[misc]


@pytest.fixture(scope="module")
def red() -> Mapping[str, set[str]]:
    """Fact -> the worlds in which a check has found it."""
    found: dict[str, set[str]] = defaultdict(set)
    with pytest.MonkeyPatch.context() as patch:
        here = ""

        def listening(check: Callable[..., Any]) -> Callable[..., Any]:
            def asked(*words: Any, **more: Any) -> Any:
                value = check(*words, **more)
                for fact in noted(value):
                    found[fact].add(here)
                return value

            return asked

        for module in MODULES:
            for name, one in list(vars(module).items()):
                if inspect.isfunction(one) and one.__module__.startswith("testbed.verdict."):
                    patch.setattr(module, name, listening(one))
        for here in WORLDS:
            made = world(here)
            test_verdict.Wire.world = test_upgrade.Story.world = test_rent_read.Paid.world = made
            for module in MODULES:
                for run in runs(module):
                    run()
    return found


@pytest.mark.parametrize("fact", sorted(looked_for()))
def test_each_check_is_red_in_at_least_three_topologies(
    fact: str, red: Mapping[str, set[str]]
) -> None:
    assert len(red[fact]) >= 3, red[fact]
