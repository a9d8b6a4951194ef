"""Many cells: which, in parallel, and what they say together."""

import gc
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from testbed.capture import reader
from testbed.errors import Exit, UnfitError, UsageError
from testbed.lab.forked import forked
from testbed.model.lab import Backend
from testbed.model.profile import Profile
from testbed.naming import instead
from testbed.nat import rules
from testbed.run.cell import run_cell
from testbed.stacks.registry import ADAPTERS, OURS, Stacks, compatible, public, stacks
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.mechanisms import of

CLASSIC = ("full-cone", "restricted-cone", "port-restricted", "symmetric")
DEFAULT = (*CLASSIC, "linux-home", "naive-linux", "carrier-grade", "udp-blocked")
NINE = tuple(f"{m}-{f}" for m in ("eim", "adm", "apdm") for f in ("eif", "adf", "apdf"))
SETS: Mapping[str, tuple[str, ...]] = {"classic": CLASSIC, "default": DEFAULT, "nine": NINE}
PEER_SETS = ("default", "libp2p", "all")
DEFAULT_PEERS = ("punch-udp", "punch-tcp", "ice")  # what a minute is enough for
CELL_DEADLINE = 90.0  # seconds; every wait inside has its own, this ends what has none
TRIES = 3  # of a cell that this machine was too busy for

Row = dict[str, Any]  # one result, as `testbed.run.cell.to_json` gives it
Progress = Callable[[Row, int, int], None]  # result, done, all


@dataclass(frozen=True)
class Selection:
    """Which cells a matrix has."""

    dialers: Sequence[str]  # profiles
    listeners: Sequence[str]
    peers: Sequence[str]  # stacks, or pairs of them: ``ice``, ``ice+pion``
    repeat: int = 1
    seed: int = 0
    controls: bool = True
    patterns: Sequence[str] = ()  # shell patterns on `Cell.pair`; none: all
    topology: str | None = None  # None: each stack's own
    relays: Sequence[str] = (OURS,)  # stacks, of cells with a libp2p relay
    strangers: Sequence[str] | None = None  # profiles, of stacks that differ; None: all the same

    def cells(self) -> list[Cell]:
        """The cells in order; UsageError when there is none."""
        pairs = [*self._pairs(), *(self._controls() if self.controls else ())]
        for pattern in self.patterns:
            if not any(fnmatchcase(cell.pair, pattern) for cell in pairs):
                remedy = instead(pattern, (cell.pair for cell in pairs))
                raise UsageError(f"--select {pattern!r} matches no cell", remedy=remedy)
        chosen = [cell for cell in pairs if self._wanted(cell)]
        if not any(not cell.control for cell in chosen) and not self.patterns:
            raise UsageError("the selection has no cell", remedy="name a profile and a peer")
        repeated = [replace(c, repeat=n) for c in chosen for n in range(self.repeat)]
        return [
            replace(cell, seed=self.seed * 1_000_003 + index) for index, cell in enumerate(repeated)
        ]

    def _pairs(self) -> Iterator[Cell]:
        for peer, relay in self._casts():
            for a in self._met(peer, self.dialers):
                for b in self._met(peer, self.listeners):
                    place = self.topology or of(stacks(peer)).topology
                    yield Cell(peer, (a, b), place, relay=relay)

    def _met(self, peer: str, profiles: Sequence[str]) -> Sequence[str]:
        mixed = len(set(stacks(peer).both)) > 1
        return self.strangers if mixed and self.strangers is not None else profiles

    def _controls(self) -> Iterator[Cell]:
        """The plain dial to each NAT, and nobody punching: what must fail, fails."""
        for name, relay in self._casts():
            ends = stacks(name)
            place = self.topology or of(ends).topology
            for mode in of(ends).controls:
                for profile in dict.fromkeys(self._met(name, self.listeners)):
                    yield Cell(name, (profile, profile), place, mode, relay=relay)

    def _casts(self) -> Iterator[tuple[str, str]]:
        """The stacks of the ends, and the relay's."""
        for peer in self.peers:
            ends = stacks(peer)
            for relay in self.relays if "relay" in ends.needs else (OURS,):
                public(relay, ends.transport)  # else a UsageError
                yield peer, relay

    def _wanted(self, cell: Cell) -> bool:
        return not self.patterns or any(fnmatchcase(cell.pair, p) for p in self.patterns)


def chosen_stacks(words: str, *, mixed: bool) -> tuple[list[str], list[str]]:
    """What ``--peers`` and ``--pairs`` ask for: names as `Cell.peer` has them.

    ``words`` is all, libp2p (the current release of each stack), default, or stacks and pairs
    of stacks with commas.  ``mixed``: every stack with every other that understands it, in
    both directions.  Beside the names is what was left out, as sentences: `all` and `libp2p`
    pass over a stack that is not built, which is an UnfitError for one that was named.
    """
    left_out = []
    names = list(DEFAULT_PEERS) if words == "default" else words.split(",")
    if words in ("all", "libp2p"):
        names = []
        for name, one in ADAPTERS.items():
            if words == "libp2p" and (one.older or not one.plays("relay")):
                continue
            try:
                one.command()
                names.append(name)
            except UnfitError as error:
                left_out.append(f"{name} is left out: {error}")
    if not mixed:
        return list(dict.fromkeys(stacks(name).name for name in names)), left_out
    single = list(dict.fromkeys(one for name in names for one in stacks(name).both))
    pairs = [Stacks(a, b).name for a in single for b in single if compatible(a, b)]
    return pairs, left_out


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

    The results come in the order of ``cells``.  A worker that dies or hangs gives an
    INCONCLUSIVE result.  Cells that were late (`Result.late`) are tried again at the
    end, with fewer at a time.
    """
    for cell in {(cell.peer, cell.relay): cell for cell in cells}.values():
        cell.prepare()
    reader.warm()
    rules.warm()
    gc.collect()
    gc.freeze()  # what the forks share stays shared
    work = partial(_work, profiles=profiles, backend=backend, out=out, facts=facts)
    rows: dict[str, Row] = {}
    earlier: dict[str, list[Row]] = {cell.name: [] for cell in cells}
    todo = list(cells)
    for tries in range(1, TRIES + 1):
        late = []
        tasks = [partial(work, cell, tries) for cell in todo]
        for index, output, seconds in forked(tasks, jobs, CELL_DEADLINE):
            cell = todo[index]
            row = _row(cell, output, seconds, out)
            if "unfit" in row:  # no cell can do better on this machine
                message, remedy = row["unfit"]
                raise UnfitError(message, remedy=remedy)
            if row.pop("late", False) and tries < TRIES:
                late.append(cell)
                earlier[cell.name].append({k: row[k] for k in ("measured", "reason", "folder")})
                continue
            rows[cell.name] = row | {"earlier_tries": earlier[cell.name]}
            progress(rows[cell.name], len(rows), len(cells))
        todo, jobs = late, max(1, jobs // 2)
    return [rows[cell.name] for cell in cells]


def folder_of(cell: Cell, tries: int) -> str:
    """Where in a matrix's folder a try of ``cell`` is kept."""
    return f"cells/{cell.name}" + (f"/try-{tries}" if tries > 1 else "")


def _work(
    cell: Cell,
    tries: int,
    slot: int,
    *,
    profiles: Mapping[str, Profile],
    backend: Backend,
    out: Path,
    facts: Any,
) -> bytes:
    """One cell, in a fork: its row as JSON."""
    folder = out / folder_of(cell, tries)
    try:
        result = run_cell(cell, profiles, backend, folder, number=slot, facts=facts)
        row = result.to_json() | {"late": result.late}
    except UnfitError as error:
        row = _broken(cell, str(error), out) | {"unfit": [error.message, error.remedy]}
    except Exception as error:  # a harness that crashes has measured nothing
        row = _broken(cell, f"{type(error).__name__}: {error}", out)
    return json.dumps(row).encode()


def _row(cell: Cell, output: bytes, seconds: float, out: Path) -> Row:
    try:
        row: Row = json.loads(output)
    except ValueError:
        row = _broken(cell, f"the worker ended without a result after {seconds:.0f} s", out)
    return row


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
        "peers_s": 0.0,
        "up_ms": None,
        "connect_ms": None,
        "folder": str(out / "cells" / cell.name),
        "explanation": None,
    }


@dataclass(frozen=True)
class Summary:
    """What a matrix says as a whole."""

    total: int
    passed: int
    failed: int
    inconclusive: int
    mixed: tuple[str, ...]  # pairs whose repetitions differ
    retried: int = 0  # cells that this machine was at first too busy for
    certified: bool = True  # every NAT was measured to be what it declares

    @property
    def exit_code(self) -> Exit:
        if self.failed or self.mixed:
            return Exit.DIFFERS
        if self.inconclusive or not self.total:
            return Exit.INCONCLUSIVE
        return Exit.AGREED


def summarize(rows: Sequence[Row], *, certified: bool = True) -> Summary:
    """Counts, and the pairs that are not of one mind."""
    outcomes: dict[str, set[str | None]] = {}
    counts = {"pass": 0, "fail": 0, "inconclusive": 0}
    for row in rows:
        counts[row["judgement"]] += 1
        if row["judgement"] != "inconclusive":
            outcomes.setdefault(row["pair"], set()).add(row["measured"])
    mixed = tuple(pair for pair, seen in outcomes.items() if len(seen) > 1)
    return Summary(
        sum(counts.values()),
        counts["pass"],
        counts["fail"],
        counts["inconclusive"],
        mixed,
        sum(bool(row.get("earlier_tries")) for row in rows),
        certified,
    )
