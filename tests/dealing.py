"""A plugin for pytest: which tests of the suite go to which worker of xdist, and when.

``--deal N`` deals them so, where the last N workers are for what only computes:

- What a module's fixture runs, often dozens of labs at once, is run by every worker that gets a
  test which uses it, or waited for by all but one.  Therefore these tests stay together.
- Such modules of `tests/conformance` are sweeps, of which no more than two are run at a time:
  more of them would spoil each other's clocks.  They come first, for they take longest.
- Tests of `tests/unit` only compute.  They go by module to the last workers, which let all others
  have the processor first: so they fill the time in which labs wait, and make no lab late.

(``--dist loadgroup`` of xdist 3.8 would do for the first, but has no effect with pytest 9.2, where
nobody may rename a test any more.)
"""

import ast
import os
from collections import deque
from functools import cache, cached_property
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

SWEEPS, PURE = "conformance", "unit"  # folders
SWEEPS_AT_ONCE = 2
POLITE = 5  # how much nicer the workers are that only compute


class Dealer(LoadScopeScheduling):  # type: ignore[misc]
    """Gives a whole group to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid, self.config.rootpath)

    @cached_property
    def _labs(self) -> list[str]:
        """Groups that a worker with clocks is to have, those that take longest first."""
        return sorted((one for one in self.workqueue if not pure(one)), key=_rank)

    @cached_property
    def _pure(self) -> deque[str]:
        return deque(filter(pure, self.workqueue))

    def _assign_work_unit(self, node: WorkerController) -> None:
        wanted = self._next(node)
        if wanted is not None:
            self.workqueue.move_to_end(wanted, last=False)
            super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        if computes(node.workerinput, self.config) and not self._pure:
            node.shutdown()
        else:
            super()._reschedule(node)

    def _next(self, node: WorkerController) -> str | None:
        if computes(node.workerinput, self.config):
            return self._pure.popleft() if self._pure else None
        crowded = self._sweeping(node) >= SWEEPS_AT_ONCE
        for index, one in enumerate(self._labs):
            if not (crowded and sweeps(one)):
                return self._labs.pop(index)
        if self._pure:
            return self._pure.popleft()
        # Nothing else is left; or a worker that crashed gave back what it had.
        return self._labs.pop(0) if self._labs else next(iter(self.workqueue))

    def _sweeping(self, node: WorkerController) -> int:
        """How many other workers are at a sweep."""
        return sum(
            any(sweeps(scope) and not all(done.values()) for scope, done in work.items())
            for other, work in self.assigned_work.items()
            if other is not node
        )


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--deal", type=int, metavar="N", help="deal tests by what they cost; N workers compute"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Dealer | None:
    return Dealer(config, log) if config.getoption("--deal") is not None else None


def pytest_configure(config: pytest.Config) -> None:
    if computes(getattr(config, "workerinput", None), config):
        os.nice(POLITE)


def computes(worker: dict[str, object] | None, config: pytest.Config) -> bool:
    """Whether it is one of the workers that are for what only computes."""
    computing: int = config.getoption("--deal")
    if worker is None or not computing:
        return False
    number = int(str(worker["workerid"]).removeprefix("gw"))
    return number >= int(str(worker["workercount"])) - computing


def pure(scope: str) -> bool:
    """A module's path, of tests that run no lab."""
    return "::" not in scope and Path(scope).parent.name == PURE


def sweeps(scope: str) -> bool:
    return "::" not in scope and Path(scope).parent.name == SWEEPS


def _rank(scope: str) -> tuple[bool, bool, bool]:
    """Sweeps first, then other modules; whole commands take longer than single labs."""
    return not sweeps(scope), "::" in scope, "end_to_end" not in scope


def group(nodeid: str, root: Path) -> str:
    """What goes to one worker together with the test ``nodeid``; its own name if nothing does."""
    module, _, test = nodeid.partition("::")
    file = root / module
    together = file.parent.name == PURE or test.partition("[")[0] in sharing(file)
    return str(file) if together else nodeid


@cache
def sharing(file: Path) -> frozenset[str]:
    """The tests of a module that use a fixture which is made once for all of them."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef)]
    for_all = [one for one in functions if "module" in _words(one, "scope")]
    if any(True in _words(one, "autouse") for one in for_all):
        return frozenset(one.name for one in functions)
    shared = {one.name for one in for_all}
    while more := {one.name for one in functions if shared & _uses(one)} - shared:
        shared |= more
    return frozenset(shared)


def _words(function: ast.FunctionDef, name: str) -> list[object]:
    """The value of the keyword ``name`` of the fixture that ``function`` is, if it is one."""
    return [
        ast.literal_eval(keyword.value)
        for decorator in function.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("fixture")
        for keyword in decorator.keywords
        if keyword.arg == name
    ]


def _uses(function: ast.FunctionDef) -> set[str]:
    """The names of the fixtures that it asks for."""
    marked = {
        word.value
        for decorator in function.decorator_list
        if "usefixtures" in ast.unparse(decorator)
        for word in ast.walk(decorator)
        if isinstance(word, ast.Constant) and isinstance(word.value, str)
    }
    return marked | {one.arg for one in (*function.args.args, *function.args.kwonlyargs)}
