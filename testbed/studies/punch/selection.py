"""Which cells a matrix has: stacks, through NATs, in worlds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import product

from testbed.errors import UnfitError, UsageError
from testbed.model.frozen import FrozenValue
from testbed.model.presets import find
from testbed.model.topology import AS_IT_IS, Conditions
from testbed.naming import instead
from testbed.stacks.registry import ADAPTERS, OURS, Stacks, compatible, public, stacks
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.mechanisms import of

CLASSIC = ("full-cone", "restricted-cone", "port-restricted", "symmetric")
DEFAULT = (*CLASSIC, "linux-home", "naive-linux", "carrier-grade", "udp-blocked")
NINE = tuple(f"{m}-{f}" for m in ("eim", "adm", "apdm") for f in ("eif", "adf", "apdf"))
SETS: Mapping[str, tuple[str, ...]] = {"classic": CLASSIC, "default": DEFAULT, "nine": NINE}
PEER_SETS = ("default", "libp2p", "all")
DEFAULT_PEERS = ("punch-udp", "punch-tcp", "ice")  # what a minute is enough for


class Selection(FrozenValue):
    """Which cells a matrix has."""

    dialers: Sequence[str]  # profiles
    listeners: Sequence[str]
    peers: Sequence[str]  # stacks, or pairs of them: ``ice``, ``ice+pion``
    repeat: int = 1
    seed: int = 0
    controls: bool = True
    patterns: Sequence[str] = ()  # shell patterns on `Cell.pair`; none: all
    topologies: Sequence[str] = ()  # worlds, by name or file; none: each stack's own
    conditions: Conditions = AS_IT_IS
    relays: Sequence[str] = (OURS,)  # stacks, of cells with a libp2p relay
    observers: tuple[tuple[str, str], ...] = ()  # host and stack, of those that are not ours
    strangers: Sequence[str] | None = None  # profiles, of stacks that differ; None: all the same

    def cells(self) -> list[Cell]:
        """The cells in order; UsageError when there is none."""
        found = [*self._pairs(), *(self._controls() if self.controls else ())]
        pairs = [replace(c, conditions=self.conditions, observers=self._seen(c)) for c in found]
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
        for peer, relay, place in self._casts():
            sides = (self.dialers, self.listeners)[: _options(place)]
            for profiles in product(*(self._met(peer, side) for side in sides)):
                yield Cell(peer, profiles, place, relay=relay)

    def _met(self, peer: str, profiles: Sequence[str]) -> Sequence[str]:
        mixed = len(set(stacks(peer).both)) > 1
        return self.strangers if mixed and self.strangers is not None else profiles

    def _controls(self) -> Iterator[Cell]:
        """The plain dial to each NAT, and nobody punching: what must fail, fails."""
        for name, relay, place in self._casts():
            options = _options(place)
            for mode in of(stacks(name)).controls:
                met = dict.fromkeys(self._met(name, self.listeners))
                for profiles in dict.fromkeys((profile,) * options for profile in met):
                    yield Cell(name, profiles, place, mode, relay=relay)

    def _casts(self) -> Iterator[tuple[str, str, str]]:
        """The stacks of the ends, the relay's, and the world."""
        for peer in self.peers:
            ends = stacks(peer)
            for relay in self.relays if "relay" in ends.needs else (OURS,):
                public(relay, ends.transport)  # else a UsageError
                for place in self.topologies or (of(ends).topology,):
                    yield peer, relay, place

    def _seen(self, cell: Cell) -> tuple[tuple[str, str], ...]:
        """The observers of a cell that has any."""
        return self.observers if "observers" in cell.stacks.needs else ()

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
