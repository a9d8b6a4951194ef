"""What the words of `testbed mesh` choose."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from testbed.cli.building import given_profiles
from testbed.cli.cell_words import MeshWords
from testbed.cli.commands import assigned
from testbed.cli.commands.required import require_cast, require_known, with_inner
from testbed.cli.options import DEFAULT_MESH_PEER
from testbed.errors import UsageError
from testbed.lab.choice import Kind
from testbed.model.frozen import FrozenValue
from testbed.model.presets import asked
from testbed.model.profile import Profile
from testbed.naming import instead
from testbed.stacks.registry import OURS, Stacks, adapter, compatible
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import require_room
from testbed.studies.punch.meeting import Meeting, meetings
from testbed.studies.punch.sound import require_sane


def require_namespaces(words: MeshWords) -> None:
    """UsageError for a backend in which nobody sees whose sockets are whose."""
    if words.backend is not Kind.NAMESPACES:
        raise UsageError(
            "a mesh is of namespaces: its pairs share one recording, and are told apart by the "
            "sockets of their processes, which in containers are the engine's",
            remedy="leave --backend out; `testbed run` takes a pair into containers",
        )


class MeshRequest(FrozenValue):
    """What `testbed mesh` is asked for."""

    words: MeshWords
    own: tuple[str, ...] = ()  # stacks of the user's that were described

    @property
    def _peer(self) -> str:
        """What each host runs that --at does not name."""
        words = self.words
        return words.peer or (self.own[0] if self.own and not words.at else DEFAULT_MESH_PEER)

    def cells(self) -> tuple[list[Cell], dict[str, Profile]]:
        """The pairs in order, and the profiles of all NATs in their world.

        UsageError for a word that no mesh has, or that changes nothing.
        """
        world = asked(self.words.world)
        given = given_profiles(world, self.words.a, self.words.b)
        names = world.chosen(*(profile.name for profile in given))
        topology = world.topology(*names)
        said = assigned.read(self.words.at or ())
        there = topology.roles
        at = assigned.assigned(world, said, (*there.peers, there.relay, *topology.observers))
        relay, observers = at.pop(there.relay, OURS), assigned.observers(at, topology)
        at = {host: stack for host, stack in at.items() if host in there.peers}
        runs = dict.fromkeys(there.peers, self._peer) | at
        self._require_other(said)
        for name in dict.fromkeys((self._peer, *runs.values())):
            require_known(name)
        cells = [
            Cell(
                _cast(runs, meeting),
                names,
                world.word,
                repeat=repeat,
                seed=self.words.seed * 1_000_003 + repeat,
                conditions=self.words.conditions,
                meeting=meeting,
                relay=relay,
                observers=observers,
            )
            for repeat in range(self.words.repeat)
            for meeting in self._chosen(meetings(topology, self.words.order))
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

    def _require_other(self, said: Mapping[str, str]) -> None:
        """UsageError for a word of --at that names what the host runs anyway."""
        for host, stack in said.items():
            if stack == self._peer:
                raise UsageError(f"--at {host}={stack} has no effect: it runs that anyway")

    def _chosen(self, pairs: Sequence[Meeting]) -> list[Meeting]:
        patterns = self.words.select or ()
        for pattern in patterns:
            if not any(fnmatchcase(pair.name, pattern) for pair in pairs):
                remedy = instead(pattern, (pair.name for pair in pairs))
                raise UsageError(f"--select {pattern!r} matches no pair", remedy=remedy)
        return [
            pair
            for pair in pairs
            if not patterns or any(fnmatchcase(pair.name, one) for one in patterns)
        ]

    def _require_used(self, cells: Sequence[Cell], runs: Mapping[str, str]) -> None:
        """UsageError for a word that no pair has to do with."""
        require_cast(self.own, cells, "--peer")
        meet = {host for cell in cells for host in (cell.roles.a, cell.roles.b)}
        meet |= {host for cell in cells for host in (cell.roles.relay, *cell.build().observers)}
        for host in (word.partition("=")[0] for word in self.words.at or ()):
            if host not in meet:
                raise UsageError(
                    f"--at {host}=... has no effect: {host} is in none of the pairs",
                    remedy="leave it out, or see --select",
                )
        if self._peer not in runs.values():
            raise UsageError(f"--peer {self._peer} has no effect: --at says what each host runs")


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
