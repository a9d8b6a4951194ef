"""Many cells: which, in parallel, and what they say together."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path

from testbed.capture import reader
from testbed.errors import UnfitError, UsageError
from testbed.model import saved
from testbed.model.furnishing import nats
from testbed.model.lab import Backend
from testbed.model.presets import find
from testbed.model.profile import Profile
from testbed.model.result import PunchDetails, Result
from testbed.model.topology import AS_IT_IS, Conditions
from testbed.model.verdict import Judgement
from testbed.naming import instead
from testbed.nat import rules
from testbed.run.cell import run_cell
from testbed.run.engine import Progress, run_study
from testbed.run.mesh import CELL_DEADLINE, deadline_of, run_mesh
from testbed.stacks.registry import ADAPTERS, OURS, Stacks, compatible, public, stacks
from testbed.studies.base import Site, Study, Together
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import prediction
from testbed.studies.punch.mechanisms import of

CLASSIC = ("full-cone", "restricted-cone", "port-restricted", "symmetric")
DEFAULT = (*CLASSIC, "linux-home", "naive-linux", "carrier-grade", "udp-blocked")
NINE = tuple(f"{m}-{f}" for m in ("eim", "adm", "apdm") for f in ("eif", "adf", "apdf"))
SETS: Mapping[str, tuple[str, ...]] = {"classic": CLASSIC, "default": DEFAULT, "nine": NINE}
PEER_SETS = ("default", "libp2p", "all")
DEFAULT_PEERS = ("punch-udp", "punch-tcp", "ice")  # what a minute is enough for
TRIES = 3  # of a cell that this machine was too busy for


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
    conditions: Conditions = AS_IT_IS
    relays: Sequence[str] = (OURS,)  # stacks, of cells with a libp2p relay
    strangers: Sequence[str] | None = None  # profiles, of stacks that differ; None: all the same

    def cells(self) -> list[Cell]:
        """The cells in order; UsageError when there is none."""
        found = [*self._pairs(), *(self._controls() if self.controls else ())]
        pairs = [replace(cell, conditions=self.conditions) for cell in found]
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
            place = self._place(stacks(peer))
            sides = (self.dialers, self.listeners)[: _options(place)]
            for profiles in product(*(self._met(peer, side) for side in sides)):
                yield Cell(peer, profiles, place, relay=relay)

    def _met(self, peer: str, profiles: Sequence[str]) -> Sequence[str]:
        mixed = len(set(stacks(peer).both)) > 1
        return self.strangers if mixed and self.strangers is not None else profiles

    def _controls(self) -> Iterator[Cell]:
        """The plain dial to each NAT, and nobody punching: what must fail, fails."""
        for name, relay in self._casts():
            ends = stacks(name)
            place = self._place(ends)
            options = _options(place)
            for mode in of(ends).controls:
                met = dict.fromkeys(self._met(name, self.listeners))
                for profiles in dict.fromkeys((profile,) * options for profile in met):
                    yield Cell(name, profiles, place, mode, relay=relay)

    def _place(self, ends: Stacks) -> str:
        return self.topology or of(ends).topology

    def _casts(self) -> Iterator[tuple[str, str]]:
        """The stacks of the ends, and the relay's."""
        for peer in self.peers:
            ends = stacks(peer)
            for relay in self.relays if "relay" in ends.needs else (OURS,):
                public(relay, ends.transport)  # else a UsageError
                yield peer, relay

    def _wanted(self, cell: Cell) -> bool:
        return not self.patterns or any(fnmatchcase(cell.pair, p) for p in self.patterns)


def _options(topology: str) -> int:
    """How many profiles a world takes."""
    return len(find(topology).world.options)


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
    facts: Mapping[str, str] | None,
    progress: Progress,
    done: Mapping[str, Result] | None = None,
    refused: Collection[str] = (),
) -> list[Result]:
    """Run all ``cells`` with `testbed.run.engine.run_study`; results in their order.

    ``refused`` are NATs (`testbed.model.furnishing.nats`) that are not what they declare: their
    cells prove nothing.
    """
    for cell in {(cell.peer, cell.relay): cell for cell in cells}.values():
        cell.prepare()
    for cell in {cell.pair: cell for cell in cells if cell.repeat}.values():
        prediction(cell, profiles, facts)  # what chance makes of it takes seconds: once for all
    reader.warm()
    rules.warm()
    saved.warm()
    study = replace(punch(profiles, facts, refused), deadline_s=deadline_of(cells))
    return run_study(study, cells, backend, out, jobs=jobs, progress=progress, done=done)


def punch(
    profiles: Mapping[str, Profile], facts: Mapping[str, str] | None, refused: Collection[str]
) -> Study[Cell]:
    """The study of the matrix: do two peers get through, and how?"""

    def run(cell: Cell, site: Site) -> Result:
        ran = run_cell(cell, profiles, site.backend, site.folder, number=site.number, facts=facts)
        return trusted(cell, ran.result())

    def run_all(cells: Sequence[Cell], site: Site, folders: Sequence[Path]) -> list[Result]:
        results = run_mesh(cells, profiles, site, folders, facts)
        return [trusted(*one) for one in zip(cells, results, strict=True)]

    def trusted(cell: Cell, result: Result) -> Result:
        return _distrusted(result, set(refused).intersection(_crossed(cell, profiles)))

    together = Together(lambda cell: cell.lab, run_all)
    return Study("punch", run, PunchDetails, CELL_DEADLINE, TRIES, together=together)


def _crossed(cell: Cell, profiles: Mapping[str, Profile]) -> Collection[str]:
    """The NATs that may have to do with it: of a pair of a mesh, those of its ways."""
    topology = cell.build()
    if cell.meeting is None:
        return nats(topology, profiles).keys()
    ends = (cell.meeting.dialer, cell.meeting.listener)
    on_way = {router.name for end in ends for router in topology.path_out(end)}
    return nats(topology, profiles, on_way).keys()


def _distrusted(result: Result, bad: Collection[str]) -> Result:
    """A NAT that is not what it declares proves nothing about the stack behind it."""
    if not bad:
        return result
    reason = f"{', '.join(sorted(bad))} failed certification; {result.reason}"
    return result.model_copy(update={"judgement": Judgement.INCONCLUSIVE, "reason": reason})
