"""A plugin for pytest: which tests of the suite go to one worker of xdist.

What a module's fixture runs, often dozens of labs at once, is run by every worker that gets a test
of the module, or waited for by all but one.  Therefore the tests of such a module stay together
with ``--deal-modules``: it is run once, and nobody waits.  All such modules of `tests/conformance`
are one group: two of these sweeps beside each other would spoil each other's clocks.  All other
tests are dealt out one by one.

(``--dist loadgroup`` of xdist 3.8 would do, but has no effect with pytest 9.2, where nobody may
rename a test any more.)
"""

import ast
from functools import cache
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

SWEEPS = "sweeps"
PURE = "unit"  # the folder whose fixtures cost nothing


class Dealer(LoadScopeScheduling):
    """Gives a whole group to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid, self.config.rootpath)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--deal-modules", action="store_true", help="tests that share a costly fixture: one worker"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Dealer | None:
    return Dealer(config, log) if config.getoption("--deal-modules") else None


def group(nodeid: str, root: Path) -> str:
    """What goes to one worker together with the test ``nodeid``; its own name if nothing does."""
    file = root / nodeid.partition("::")[0]
    if file.parent.name == PURE or not shares(file):
        return nodeid
    return SWEEPS if file.parent.name == "conformance" else str(file)


@cache
def shares(file: Path) -> bool:
    """Whether the module has a fixture that is made once for all of its tests."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return any(
        keyword.arg == "scope" and ast.literal_eval(keyword.value) == "module"
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for decorator in function.decorator_list
        if isinstance(decorator, ast.Call)
        and ast.unparse(decorator.func) in ("pytest.fixture", "fixture")
        for keyword in decorator.keywords
    )
