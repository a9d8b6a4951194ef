"""What the words of `testbed run` and `testbed matrix` choose.

A word that changes nothing of what is run is a UsageError here, and a stack that is not built an
UnfitError: both before anything is measured or built.  What words alone say is in
`testbed.cli.words`; these are those whose effect hangs on what the others name.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from testbed.cli.building import given_profiles
from testbed.cli.cell_words import MatrixWords, RunWords
from testbed.cli.commands import assigned
from testbed.cli.commands.required import ends_of, require_cast, require_known, with_inner
from testbed.cli.options import DEFAULT_PEER, Pairs
from testbed.errors import ProfileError, UsageError
from testbed.model.frozen import FrozenValue
from testbed.model.presets import PRESETS, asked, find
from testbed.model.profile import Profile
from testbed.naming import either, nearest
from testbed.nat.load import catalogue, named
from testbed.report.terminal import tell
from testbed.stacks.registry import OURS, stacks
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.folder import load_cell
from testbed.studies.punch.mechanisms import of
from testbed.studies.punch.selection import CLASSIC, PEER_SETS, SETS, Selection, chosen_stacks
from testbed.studies.punch.sound import require_players, require_sane

ALL = "all"
DEFAULT_PROFILES = "default"


def one_cell(words: RunWords) -> tuple[Cell, dict[str, Profile]]:
    """What `testbed run` runs, and the profiles of its NATs.

    UsageError for a word that no run has, or that changes nothing of this one.
    """
    said = assigned.read(words.at or ())
    first = words.peer or assigned.known(said) or DEFAULT_PEER
    require_known(first)
    world = asked(words.topology or of(stacks(first)).topology)
    there = world.topology()
    at = assigned.assigned(world, said, assigned.players(there))
    if words.peer:
        assigned.require_change(said, there, [stacks(words.peer)])
    for host in (there.roles.a, there.roles.b):
        require_known(at.get(host, first))
    ends = stacks(assigned.ends(at, there, words.peer, DEFAULT_PEER))
    relay = assigned.relays(at, there, words.relay)
    given = given_profiles(world, words.a, words.b)
    cell = Cell(
        ends.name,
        world.chosen(*(profile.name for profile in given)),
        world.word,
        words.mode,
        seed=words.seed,
        skew_ms=words.skew,
        relay=relay or OURS,
        observers=assigned.observers(at, there),
        conditions=words.conditions,
    )
    require_sane(cell)
    if relay and cell.relaying is None:
        raise UsageError(f"--relay has no effect: {ends.name} uses no libp2p relay")
    return cell, with_inner([cell], {profile.name: profile for profile in given})


class Single(FrozenValue):
    """What `testbed run` runs: a cell, the profiles of its NATs, and the number of its lab."""

    cell: Cell
    profiles: dict[str, Profile]
    number: int


def single(words: RunWords) -> Single:
    """The cell that is chosen or described, or that of ``--replay``; as `one_cell`."""
    own, replay = words.added(), words.replay
    if replay is None:
        found = Single(*one_cell(words), number=0)
    elif replay.resolve() == words.out.resolve():
        raise UsageError(f"{words.out} is what is replayed", remedy="choose another --out")
    else:
        found = Single(*load_cell(replay))
    require_cast(own, [found.cell], "--peer")
    return found


class Request(FrozenValue):
    """What `testbed matrix` is asked for."""

    words: MatrixWords
    own: tuple[str, ...] = ()  # stacks of the user's that were described

    @property
    def _peers(self) -> str:
        named = self.words.peers
        return ",".join(self.own) if self.own and named == "default" else named

    @property
    def _mixed(self) -> bool:
        """Whether stacks meet others that understand them."""
        return self.words.pairs is not Pairs.SAME

    def cells(self) -> tuple[list[Cell], dict[str, Profile]]:
        """The cells in order, and the profiles of all NATs in them.

        UsageError for a word that selects nothing.
        """
        words = self.words
        wanted = _profiles(words.profiles or DEFAULT_PROFILES)
        selection = self._selection(wanted)
        cells = _sane(selection.cells(), leave_out=words.topology == ALL)
        require_cast(self.own, cells, "--peers")
        if self._mixed and all(len(set(stacks(peer).both)) == 1 for peer in selection.peers):
            raise UsageError("--pairs has no effect: no two of these stacks understand each other")
        _require_relays(selection.relays if words.relay else None, cells)
        if self._peers not in PEER_SETS and not words.at:
            casts = {name for cell in cells for name in (cell.peer, *ends_of(cell))}
            _require_used("--peers", self._peers.split(","), casts)
        if words.profiles and not any(cell.profiles for cell in cells):
            raise UsageError(
                f"--profiles has no effect: {_worlds(cells)} takes no NAT by option",
                remedy='leave it out, or write option = "a" to a router of the world',
            )
        if words.profiles not in (None, ALL, *SETS):
            _require_used("--profiles", wanted, {name for cell in cells for name in cell.profiles})
        return cells, with_inner(cells, wanted)

    def _selection(self, wanted: Mapping[str, Profile]) -> Selection:
        try:
            peers, left_out = chosen_stacks(self._peers, mixed=self._mixed)
        except UsageError:
            if sets := nearest(self._peers, PEER_SETS):
                remedy = either(sets)
                raise UsageError(f"no peer and no set {self._peers!r}", remedy=remedy) from None
            for peer in self._peers.split(","):
                require_known(peer)
            raise
        for one in left_out:
            tell(f"testbed: {one}", error=True)
        words = self.words
        peers, relay, observers = self._assigned(peers)
        return Selection(
            dialers=list(wanted),
            listeners=list(wanted),
            peers=peers,
            repeat=words.repeat,
            seed=words.seed,
            controls=words.controls,
            patterns=words.select or (),
            topologies=_places(words.topology) if words.topology else (),
            conditions=words.conditions,
            relays=(relay or OURS).split(","),
            observers=observers,
            strangers=CLASSIC if words.pairs is Pairs.INTEROP else None,
        )

    def _assigned(
        self, peers: Sequence[str]
    ) -> tuple[list[str], str | None, tuple[tuple[str, str], ...]]:
        """The pairs of stacks once hosts run what `at` and the world's file say.

        And what relays, and observes.

        Each host is one of every cell, whatever mechanism its stacks have.
        """
        words = self.words
        said = assigned.read(words.at or ())
        found: dict[str, tuple[str | None, tuple[tuple[str, str], ...]]] = {}
        places = _places(words.topology) if words.topology else None
        for peer in peers:
            casts = set()
            for place in places or [of(stacks(peer)).topology]:
                world = find(place)
                there = world.topology()
                parts = assigned.players(there)
                at = assigned.assigned(world, said, parts)
                assigned.require_change(said, there, [stacks(one) for one in peers])
                named = all(host in at for host in parts[:2])
                ends = assigned.ends(at, there, None if named else peer, DEFAULT_PEER)
                others = assigned.relays(at, there, words.relay), assigned.observers(at, there)
                casts.add((ends, others))
            if len(casts) > 1:
                raise UsageError(
                    "roles.at of these worlds differ, and a matrix has the same stacks in all",
                    remedy="name one world, or --at for each host",
                )
            found.update(casts)
        relay, observers = next(iter(found.values()), (words.relay, ()))
        return list(found), relay, observers


def _places(named: str) -> list[str]:
    """The worlds that ``--topology`` means: with commas, or all in which two peers may meet."""
    if named != ALL:
        return list(dict.fromkeys(asked(word).word for word in named.split(",")))
    found = []
    for name in PRESETS:
        try:
            require_players(find(name).topology())
        except UsageError as error:
            _leave_out(error)
        else:
            found.append(name)
    return found


def _sane(cells: Sequence[Cell], *, leave_out: bool) -> list[Cell]:
    """``cells``, each of which can be run; UsageError for one that cannot.

    With ``leave_out`` that is said instead, and the others are given.
    """
    refused: dict[str, UsageError] = {}
    kinds = {_kind(cell): cell for cell in cells}
    for kind, cell in kinds.items():
        try:
            require_sane(cell)
        except UsageError as error:
            if not leave_out:
                raise
            refused[kind] = error
    for one in {one.message: one for one in refused.values()}.values():
        _leave_out(one)
    return [cell for cell in cells if _kind(cell) not in refused]


def _kind(cell: Cell) -> str:
    """Alike for cells that differ in nothing but their NATs, luck and repetition."""
    return f"{cell.topology} {cell.cast} {cell.mode}"


def _leave_out(error: UsageError) -> None:
    tell(f"testbed: left out: {error.message}", error=True)


def _worlds(cells: Iterable[Cell]) -> str:
    """The worlds of ``cells``, for a sentence."""
    return " and ".join(dict.fromkeys(cell.world.name for cell in cells))


def _require_relays(relays: Sequence[str] | None, cells: Sequence[Cell]) -> None:
    if relays is None:
        return
    seen = {cell.relay for cell in cells if cell.relaying}
    if not seen:
        raise UsageError(
            "--relay has no effect: no stack here uses a libp2p relay",
            remedy="--peers with one of DCUtR: traversal-quic, go-tcp, ...",
        )
    _require_used("--relay", relays, seen)


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
