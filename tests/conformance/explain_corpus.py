"""Cells whose cause is known by construction, each run in a fork that is broken for it alone."""

import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from patience import repeated
from withheld import patient

from testbed.explain.explainer import explain
from testbed.lab.forked import forked
from testbed.lab.namespaces import Namespaces
from testbed.model.explanation import Cause, Evidence
from testbed.model.lab import Lab
from testbed.model.plan import LoadRules
from testbed.model.profile import Profile
from testbed.nat.load import catalogue, load
from testbed.run import cell as runner
from testbed.run.cell import run_cell
from testbed.stacks import registry as adapter
from testbed.studies.punch.attempt import Account, Attempt, Cut
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.evidence import load_evidence

JOBS = 8  # cells mostly wait
DEADLINE = 90.0
TRIES = 4

Break = Callable[[Path], None]  # breaks something in the process that runs the cell


@dataclass(frozen=True)
class Case:
    """One cell, what is broken in it, and the cause that this gives it."""

    cell: Cell
    cause: Cause
    node: str | None = None
    broken: Break | None = None
    profiles: Mapping[str, str] | None = None  # name -> TOML, beside the catalogue
    seen_at: tuple[str, ...] = ()  # where what decides is recorded, if not at the node


def corpus(folder: Path, cases: Mapping[str, Case], jobs: int = JOBS) -> dict[str, Evidence]:
    """Name -> the evidence of its run; what a busy machine made another cell of is run again."""
    found: dict[str, Evidence] = {}
    names = list(cases)
    for tries in range(TRIES):
        left = [name for name in names if name not in found]
        tasks = [_task(cases[name], folder / name / str(tries)) for name in left]
        for index, output, seconds in forked(tasks, max(2, jobs >> tries), DEADLINE):
            assert output, f"{left[index]}: the worker died after {seconds:.0f} s"
            answer = pickle.loads(output)
            assert not isinstance(answer, str), f"{left[index]}: {answer}"
            evidence, late = answer
            evidence, named = patient(evidence), cases[left[index]].cause
            if not late or tries == TRIES - 1 or explain(evidence).cause is named:
                found[left[index]] = evidence
            else:
                repeated(f"{left[index]}: late, and explained by another cause")
    return found


def _task(case: Case, folder: Path) -> Callable[[int], bytes]:
    def run(slot: int) -> bytes:
        try:
            return work(slot)
        except Exception as error:
            return pickle.dumps(f"{type(error).__name__}: {error}")

    def work(slot: int) -> bytes:
        folder.mkdir(parents=True)
        profiles = catalogue() | dict(_written(case, folder))
        if case.broken:
            case.broken(folder)
        result = run_cell(case.cell, profiles, Namespaces(), folder, number=50 + slot)
        return pickle.dumps((load_evidence(folder), result.late))

    return run


def _written(case: Case, folder: Path) -> Iterator[tuple[str, Profile]]:
    for name, text in (case.profiles or {}).items():
        path = folder / f"{name}.toml"
        path.write_text(text)
        yield name, load(path)


# -- what can be broken ----------------------------------------------------------


def before(act: Callable[[Lab], None]) -> Break:
    """Do something in the lab before the peers are started."""

    def broken(_folder: Path) -> None:
        real = runner.attempt  # type: ignore[attr-defined]

        def attempt(lab: Lab, task: Attempt) -> Account | Cut:
            act(lab)
            return real(lab, task)

        runner.attempt = attempt  # type: ignore[attr-defined]

    return broken


def rules(node: str, *words: str) -> Break:
    """The rules of ``node`` are loaded anew: of ``words`` each second one replaces the first."""

    def act(lab: Lab) -> None:
        for step in lab.plan.of(LoadRules):
            if step.node != node:
                continue
            text = step.text
            for old, new in zip(words[::2], words[1::2], strict=True):
                assert old in text, f"{old!r} is not in the rules of {node}"
                text = text.replace(old, new)
            tool = ["nft", "-f", "-"] if step.engine == "nftables" else ["iptables-restore"]
            lab.run(node, tool, input=text.encode())

    def broken(_folder: Path) -> None:
        """Before anybody watches the routers."""
        closed = runner.require_closed  # type: ignore[attr-defined]

        def require_closed(lab: Lab) -> None:
            closed(lab)
            act(lab)

        runner.require_closed = require_closed  # type: ignore[attr-defined]

    return broken


def peer(name: str, change: Callable[[], None], runs: str | None = None) -> Break:
    """The processes of the stack ``name`` make ``change`` to it before they start.

    ``runs``: the stack whose program they are instead.
    """

    def broken(_folder: Path) -> None:
        honest = adapter.ADAPTERS[runs or name].entry
        assert callable(honest)

        def entry() -> int:
            change()
            return honest()

        changed = replace(adapter.ADAPTERS[name], entry=entry)
        adapter.ADAPTERS = {**adapter.ADAPTERS, name: changed}

    return broken


def both(*breaks: Break) -> Break:
    def broken(folder: Path) -> None:
        for one in breaks:
            one(folder)

    return broken


# -- what can be hidden ----------------------------------------------------------
