"""What the words of `testbed run` and `testbed matrix` choose.

A word that changes nothing of what is run is a UsageError here, and a stack that is not built an
UnfitError: both before anything is measured or built.  What words alone say is in
`testbed.cli.words`; these are those whose effect hangs on what the others name.
"""

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.cli.building import given_profiles
from testbed.errors import ProfileError, UnfitError, UsageError
from testbed.lab.choice import Kind
from testbed.model.lab import Image
from testbed.model.presets import asked
from testbed.model.profile import Profile
from testbed.model.topology import AS_IT_IS, Conditions
from testbed.naming import either, nearest
from testbed.nat.load import by_name, catalogue, named
from testbed.run.matrix import CLASSIC, PEER_SETS, SETS, Selection, chosen_stacks
from testbed.run.shards import Shard
from testbed.stacks.registry import BETWEEN, OURS, Adapter, adapter, stacks
from testbed.studies.punch.cell import Cell, require_sane
from testbed.studies.punch.mechanisms import of

ALL = "all"
DEFAULT_PROFILES = "default"


@dataclass(frozen=True)
class Single:
    """The words of `testbed run`."""

    peer: str
    a: str | None
    b: str | None
    topology: str | None
    mode: str
    skew_ms: float
    seed: int
    relay: str | None
    conditions: Conditions

    def cell(self) -> tuple[Cell, dict[str, Profile]]:
        """What is run, and the profiles of its NATs.

        UsageError for a word that no run has, or that changes nothing of this one.
        """
        require_known(self.peer)
        ends = stacks(self.peer)
        world = asked(self.topology or of(ends).topology)
        given = given_profiles(world, self.a, self.b)
        cell = Cell(
            ends.name,
            world.chosen(*(profile.name for profile in given)),
            world.word,
            self.mode,
            seed=self.seed,
            skew_ms=self.skew_ms,
            relay=self.relay or OURS,
            conditions=self.conditions,
        )
        require_sane(cell)
        if self.relay and cell.relaying is None:
            raise UsageError(f"--relay has no effect: {ends.name} uses no libp2p relay")
        return cell, with_inner([cell], {profile.name: profile for profile in given})


@dataclass(frozen=True)
class Request:
    """The words of `testbed matrix`."""

    profiles: str | None  # None: the default ones, where the world takes any
    peers: str
    mixed: bool  # each stack with every other that understands it
    topology: str | None
    patterns: tuple[str, ...]
    repeat: int
    controls: bool
    certify: bool
    jobs: int
    seed: int
    out: Path
    kind: Kind = Kind.NAMESPACES
    shard: Shard | None = None  # this part of it alone
    conditions: Conditions = AS_IT_IS
    relays: str | None = None  # stacks with commas; None: ours
    interop: bool = False  # stacks that differ meet behind the classic four alone
    own: tuple[str, ...] = ()  # stacks of the user's that were described
    replace: bool = False  # results in `out` that this run does not make again

    def cells(self) -> tuple[list[Cell], dict[str, Profile]]:
        """The cells in order, and the profiles of all NATs in them.

        UsageError for a word that selects nothing.
        """
        wanted = _profiles(self.profiles or DEFAULT_PROFILES)
        selection = self._selection(wanted)
        cells = selection.cells()
        for cell in {cell.topology: cell for cell in cells}.values():
            require_sane(cell)
        require_cast(self.own, cells, "--peers")
        if self.mixed and all(len(set(stacks(peer).both)) == 1 for peer in selection.peers):
            raise UsageError("--pairs has no effect: no two of these stacks understand each other")
        _require_relays(self.relays, cells)
        if self.peers not in PEER_SETS:
            casts = {name for cell in cells for name in (cell.peer, *_ends(cell))}
            _require_used("--peers", self.peers.split(","), casts)
        if self.profiles and not any(cell.profiles for cell in cells):
            raise UsageError(
                f"--profiles has no effect: {cells[0].world.name} takes no NAT by option",
                remedy='leave it out, or write option = "a" to a router of the world',
            )
        if self.profiles not in (None, ALL, *SETS):
            _require_used("--profiles", wanted, {name for cell in cells for name in cell.profiles})
        return cells, with_inner(cells, wanted)

    def _selection(self, wanted: Mapping[str, Profile]) -> Selection:
        try:
            peers, left_out = chosen_stacks(self.peers, mixed=self.mixed)
        except UsageError:
            if sets := nearest(self.peers, PEER_SETS):
                remedy = either(sets)
                raise UsageError(f"no peer and no set {self.peers!r}", remedy=remedy) from None
            for peer in self.peers.split(","):
                require_known(peer)
            raise
        for words in left_out:
            print(f"testbed: {words}", file=sys.stderr)
        return Selection(
            dialers=list(wanted),
            listeners=list(wanted),
            peers=peers,
            repeat=self.repeat,
            seed=self.seed,
            controls=self.controls,
            patterns=self.patterns,
            topology=asked(self.topology).word if self.topology else None,
            conditions=self.conditions,
            relays=(self.relays or OURS).split(","),
            strangers=CLASSIC if self.interop else None,
        )


def require_cast(own: Sequence[str], cells: Sequence[Cell], option: str) -> None:
    """UsageError for a stack that was described and is in none of ``cells``."""
    cast = {name for cell in cells for name in (*_ends(cell), cell.relay)}
    for name in own:
        if name not in cast:
            raise UsageError(
                f"--stack {name}=... has no effect: it is in no cell", remedy=f"{option} {name}"
            )


def require_ready(cells: Sequence[Cell], kind: Kind) -> None:
    """Whatever the cells need is there, as `require_built` has it."""
    cast = {(cell.peer, cell.relay): cell for cell in cells}.values()
    ends = [one for cell in cast for one in cell.stacks.both]
    require_built([*ends, *(cell.relaying for cell in cast if cell.relaying)], kind)


def require_built(cast: Iterable[Adapter], kind: Kind) -> None:
    """UnfitError naming each stack that is not built.

    UsageError for an image where no node is a container.
    """
    unbuilt: dict[str, UnfitError] = {}
    for one in cast:
        if isinstance(one.entry, Image) and kind is Kind.NAMESPACES:
            raise UsageError(
                f"{one.name} is an image, and labs of namespaces have no containers",
                remedy=f"--backend {Kind.DOCKER.value}",
            )
        try:
            one.command()
        except UnfitError as error:
            unbuilt.setdefault(error.message, error)
    if unbuilt:
        raise UnfitError("; ".join(unbuilt), remedy=next(iter(unbuilt.values())).remedy)


def require_known(peer: str) -> None:
    """UsageError for a stack that is none of ours, and was not described."""
    for name in peer.split(BETWEEN):
        try:
            adapter(name)
        except UsageError as error:
            described = f"--stack {name}=./program --mechanism punch_udp"
            raise UsageError(
                error.message,
                remedy=f"{error.remedy}\n  a stack of your own is described: {described}",
            ) from None


def _ends(cell: Cell) -> tuple[str, ...]:
    return tuple(one.name for one in cell.stacks.both)


def _require_relays(relays: str | None, cells: Sequence[Cell]) -> None:
    if relays is None:
        return
    seen = {cell.relay for cell in cells if cell.relaying}
    if not seen:
        raise UsageError(
            "--relay has no effect: no stack here uses a libp2p relay",
            remedy="--peers with one of DCUtR: traversal-quic, go-tcp, ...",
        )
    _require_used("--relay", relays.split(","), seen)


def _require_used(option: str, wanted: Iterable[str], used: Collection[str]) -> None:
    """UsageError for a name in ``option`` that no cell has."""
    for name in wanted:
        if name not in used:
            raise UsageError(
                f"{option} names {name}, and no cell has it", remedy="leave it out, or see --select"
            )


def _profiles(words: str) -> dict[str, Profile]:
    if words == ALL:
        return catalogue()
    try:
        found = named(SETS.get(words) or words.split(","))
    except ProfileError:
        if sets := nearest(words, (ALL, *SETS)):
            raise UsageError(f"no profile and no set {words!r}", remedy=either(sets)) from None
        raise
    return {profile.name: profile for profile in found}


def with_inner(cells: Sequence[Cell], given: Mapping[str, Profile]) -> dict[str, Profile]:
    """Those of all NATs in ``cells``; a carrier's is named by its topology alone."""
    needed = {router.profile for cell in cells for router in cell.build().routers}
    return by_name(given.values(), sorted(needed))
