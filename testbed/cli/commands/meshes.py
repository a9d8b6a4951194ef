"""What the words of `testbed mesh` choose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from testbed.cli.building import given_profiles
from testbed.cli.commands.chosen import require_cast, require_known, with_inner
from testbed.errors import UsageError
from testbed.lab.choice import Kind
from testbed.model.presets import asked
from testbed.model.profile import Profile
from testbed.model.topology import Conditions, Order
from testbed.naming import instead
from testbed.run.shards import Shard
from testbed.stacks.registry import Stacks, adapter, compatible
from testbed.studies.punch.cell import Cell, require_sane
from testbed.studies.punch.expectation import require_room
from testbed.studies.punch.meeting import Meeting, meetings, placed


@dataclass(frozen=True)
class MeshRequest:
    """The words of `testbed mesh`."""

    world: str
    peer: str
    at: tuple[str, ...]  # HOST=STACK
    order: Order
    nats: tuple[str | None, str | None]  # -a and -b
    patterns: tuple[str, ...]  # of pairs; none: all
    repeat: int
    certify: bool
    seed: int
    out: Path
    conditions: Conditions
    own: tuple[str, ...] = ()  # stacks of the user's that were described
    replace: bool = False
    jobs: int = 1  # labs at a time: each has enough to do
    kind: Kind = Kind.NAMESPACES  # whose sockets can be seen
    shard: Shard | None = None  # a lab is not divided

    def cells(self) -> tuple[list[Cell], dict[str, Profile]]:
        """The pairs in order, and the profiles of all NATs in their world.

        UsageError for a word that no mesh has, or that changes nothing.
        """
        world = asked(self.world)
        given = given_profiles(world, *self.nats)
        names = world.chosen(*(profile.name for profile in given))
        topology = world.topology(*names)
        runs = placed(self.at, self.peer, topology)
        for name in dict.fromkeys((self.peer, *runs.values())):
            require_known(name)
        cells = [
            Cell(
                _cast(runs, meeting),
                names,
                world.word,
                repeat=repeat,
                seed=self.seed * 1_000_003 + repeat,
                conditions=self.conditions,
                meeting=meeting,
            )
            for repeat in range(self.repeat)
            for meeting in self._chosen(meetings(topology, self.order))
        ]
        for cell in cells:
            require_sane(cell)
        if cells[0].stacks.contract != "lines":
            raise UsageError(
                f"{cells[0].peer} starts when it likes: the pairs of a mesh begin together",
                remedy="stacks of the contract lines",
            )
        self._require_used(cells, runs)
        profiles = with_inner(cells, {profile.name: profile for profile in given})
        require_room([cell for cell in cells if cell.repeat == 0], profiles)
        return cells, profiles

    def _chosen(self, pairs: Sequence[Meeting]) -> list[Meeting]:
        for pattern in self.patterns:
            if not any(fnmatchcase(pair.name, pattern) for pair in pairs):
                remedy = instead(pattern, (pair.name for pair in pairs))
                raise UsageError(f"--select {pattern!r} matches no pair", remedy=remedy)
        return [
            pair
            for pair in pairs
            if not self.patterns or any(fnmatchcase(pair.name, one) for one in self.patterns)
        ]

    def _require_used(self, cells: Sequence[Cell], runs: Mapping[str, str]) -> None:
        """UsageError for a word that no pair has to do with."""
        require_cast(self.own, cells, "--peer")
        meet = {host for cell in cells for host in (cell.roles.a, cell.roles.b)}
        for host in (word.partition("=")[0] for word in self.at):
            if host not in meet:
                raise UsageError(
                    f"--at {host}=... has no effect: {host} is in none of the pairs",
                    remedy="leave it out, or see --select",
                )
        if self.peer not in runs.values():
            raise UsageError(f"--peer {self.peer} has no effect: --at says what each host runs")


def _cast(runs: Mapping[str, str], meeting: Meeting) -> str:
    """The stacks of a pair; UsageError naming hosts whose stacks do not understand each other."""
    names = runs[meeting.dialer], runs[meeting.listener]
    dialer, listener = map(adapter, names)
    if not compatible(dialer, listener):
        raise UsageError(
            f"{meeting.dialer} and {meeting.listener} do not understand each other: "
            f"{dialer.name} is of {dialer.mechanism}, {listener.name} of {listener.mechanism}",
            remedy="--peer and --at name stacks of one mechanism",
        )
    return Stacks(dialer, listener).name
