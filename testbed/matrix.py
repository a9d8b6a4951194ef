"""Many cells: which, in parallel, and what they say together."""

import gc
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from testbed.backends import kernel
from testbed.backends.base import Backend
from testbed.cell import Cell
from testbed.errors import Exit, TestbedError, UsageError
from testbed.nat.profile import Profile
from testbed.peers.adapter import adapter
from testbed.plan.addresses import LABS
from testbed.runner import run_cell

CLASSIC = ("full-cone", "restricted-cone", "port-restricted", "symmetric")
DEFAULT = (*CLASSIC, "linux-home", "naive-linux", "carrier-grade", "udp-blocked")
NINE = tuple(f"{m}-{f}" for m in ("eim", "adm", "apdm") for f in ("eif", "adf", "apdf"))
SETS: Mapping[str, tuple[str, ...]] = {"classic": CLASSIC, "default": DEFAULT, "nine": NINE}
CELL_DEADLINE = 90.0  # seconds; every wait inside has its own, this catches what none does
TRIES = 3  # of a cell that this machine was too busy for

Row = dict[str, Any]  # one result, as `testbed.runner.to_json` gives it
Progress = Callable[[Row, int, int], None]  # result, done, all


@dataclass(frozen=True)
class Selection:
    """Which cells a matrix has."""

    dialers: Sequence[str]  # profiles
    listeners: Sequence[str]
    peers: Sequence[str]
    repeat: int = 1
    seed: int = 0
    controls: bool = True
    patterns: Sequence[str] = ()  # shell patterns on `Cell.pair`; none: all

    def cells(self) -> list[Cell]:
        """The cells in order; UsageError when there is none."""
        pairs = [*self._pairs(), *(self._controls() if self.controls else ())]
        chosen = [cell for cell in pairs if self._wanted(cell)]
        if not any(not cell.control for cell in chosen) and not self.patterns:
            raise UsageError("the selection has no cell", remedy="name a profile and a peer")
        if not chosen:
            raise UsageError(
                f"no cell matches {' or '.join(self.patterns)}",
                remedy=f"names look like {next(iter(pairs)).pair}" if pairs else None,
            )
        repeated = [replace(c, repeat=n) for c in chosen for n in range(self.repeat)]
        return [
            replace(cell, seed=self.seed * 1_000_003 + index) for index, cell in enumerate(repeated)
        ]

    def _pairs(self) -> Iterator[Cell]:
        for peer in self.peers:
            for a in self.dialers:
                for b in self.listeners:
                    yield Cell(peer, (a, b))

    def _controls(self) -> Iterator[Cell]:
        """The plain dial to each NAT, and nobody punching: what must fail, fails."""
        for name in self.peers:
            relays = adapter(name).mechanism == "ice"
            for mode in ("relay_only",) if relays else ("plain_dial", "silent"):
                for profile in dict.fromkeys(self.listeners):
                    yield Cell(name, (profile, profile), mode=mode)

    def _wanted(self, cell: Cell) -> bool:
        return not self.patterns or any(fnmatchcase(cell.pair, p) for p in self.patterns)


def run_matrix(
    cells: Sequence[Cell],
    profiles: Mapping[str, Profile],
    backend: Backend,
    out: Path,
    *,
    jobs: int,
    facts: Any,
    progress: Progress,
) -> list[Row]:
    """Run all ``cells``, ``jobs`` at a time, each in a fork of this warm process.

    The results come in the order of ``cells``.  A worker that dies or hangs gives
    an INCONCLUSIVE result; a cell that was late (`Result.late`) is tried again.
    """
    for name in {cell.peer for cell in cells}:
        adapter(name).warm()
    gc.collect()
    gc.freeze()  # what the forks share stays shared
    pool = _Pool(profiles, backend, out, facts)
    waiting = [(cell, 1) for cell in reversed(cells)]
    rows: dict[str, Row] = {}
    with pool:
        while waiting or pool.workers:
            while waiting and len(pool.workers) < jobs:
                pool.start(*waiting.pop())
            for worker, row in pool.finished():
                if row.pop("late", False) and worker.tries < TRIES:
                    waiting.insert(0, (worker.cell, worker.tries + 1))
                    continue
                rows[worker.cell.name] = row | {"tries": worker.tries}
                progress(rows[worker.cell.name], len(rows), len(cells))
    return [rows[cell.name] for cell in cells]


@dataclass
class _Worker:
    cell: Cell
    tries: int
    pid: int
    pipe: int
    number: int
    deadline: float
    data: bytes = b""


class _Pool:
    """The running workers.  Leaving the context ends them."""

    def __init__(
        self, profiles: Mapping[str, Profile], backend: Backend, out: Path, facts: Any
    ) -> None:
        self.profiles = profiles
        self.backend = backend
        self.out = out
        self.facts = facts
        self.workers: dict[int, _Worker] = {}
        self._free = list(range(LABS - 1, -1, -1))

    def __enter__(self) -> "_Pool":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            os.kill(worker.pid, signal.SIGKILL)
            os.waitpid(worker.pid, 0)
            os.close(worker.pipe)
        self.workers.clear()

    def start(self, cell: Cell, tries: int) -> None:
        number = self._free.pop()
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            self._work(cell, number, writing)
        os.close(writing)
        deadline = time.monotonic() + CELL_DEADLINE
        self.workers[reading] = _Worker(cell, tries, pid, reading, number, deadline)

    def _work(self, cell: Cell, number: int, pipe: int) -> None:
        """In the fork; never returns."""
        code = 1
        try:
            kernel.die_with_parent(signal.SIGKILL)
            for other in self.workers:
                os.close(other)
            folder = self.out / "cells" / cell.name
            result = run_cell(
                cell, self.profiles, self.backend, folder, number=number, facts=self.facts
            )
            with os.fdopen(pipe, "w") as stream:
                json.dump(result.to_json() | {"late": result.late}, stream)
            code = 0
        except TestbedError as error:
            os.write(pipe, json.dumps({"broken": str(error)}).encode())
        except Exception as error:
            os.write(pipe, json.dumps({"broken": f"{type(error).__name__}: {error}"}).encode())
        finally:
            os._exit(code)

    def finished(self) -> Iterator[tuple[_Worker, Row]]:
        """Wait until something happens; give the workers that ended, with their results."""
        nearest = min(worker.deadline for worker in self.workers.values())
        ready, _, _ = select.select(
            list(self.workers), [], [], max(0.0, nearest - time.monotonic())
        )
        for pipe in ready:
            data = os.read(pipe, 1 << 20)
            self.workers[pipe].data += data
            if not data:
                yield self._end(pipe, None)
        now = time.monotonic()
        for pipe in [p for p, worker in self.workers.items() if worker.deadline <= now]:
            yield self._end(pipe, f"the cell did not end within {CELL_DEADLINE:g} s")

    def _end(self, pipe: int, trouble: str | None) -> tuple[_Worker, Row]:
        worker = self.workers.pop(pipe)
        if trouble:
            os.kill(worker.pid, signal.SIGKILL)
        _, status = os.waitpid(worker.pid, 0)
        os.close(pipe)
        self._free.append(worker.number)
        try:
            row: Row = json.loads(worker.data)
        except ValueError:
            code = os.waitstatus_to_exitcode(status)
            row = {"broken": trouble or f"the worker ended with {code}"}
        if "broken" in row:
            row = _broken(worker.cell, str(row["broken"]), self.out)
        return worker, row


def _broken(cell: Cell, reason: str, out: Path) -> Row:
    """The result of a cell whose worker did not live to judge it."""
    row = cell.to_json()
    return row | {
        "judgement": "inconclusive",
        "measured": None,
        "predicted": None,
        "reason": reason,
        "findings": [],
        "packets_cited": [],
        "packets": 0,
        "seconds": 0.0,
        "up_ms": None,
        "connect_ms": None,
        "folder": str(out / "cells" / cell.name),
    }


@dataclass(frozen=True)
class Summary:
    """What a matrix says as a whole."""

    total: int
    passed: int
    failed: int
    inconclusive: int
    mixed: tuple[str, ...]  # pairs whose repetitions differ

    @property
    def exit_code(self) -> Exit:
        if self.failed or self.mixed:
            return Exit.DIFFERS
        if self.inconclusive or not self.total:
            return Exit.INCONCLUSIVE
        return Exit.AGREED


def summarize(rows: Iterable[Row]) -> Summary:
    """Counts, and the pairs that are not of one mind."""
    outcomes: dict[str, set[str | None]] = {}
    counts = {"pass": 0, "fail": 0, "inconclusive": 0}
    for row in rows:
        counts[row["judgement"]] += 1
        if row["judgement"] != "inconclusive":
            outcomes.setdefault(row["pair"], set()).add(row["measured"])
    mixed = tuple(pair for pair, seen in outcomes.items() if len(seen) > 1)
    return Summary(
        sum(counts.values()), counts["pass"], counts["fail"], counts["inconclusive"], mixed
    )
