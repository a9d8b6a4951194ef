"""A cell of the matrix: everything that says what is run."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, lru_cache

from testbed.errors import UsageError
from testbed.model.distance import round_trip_s
from testbed.model.frozen import FrozenValue
from testbed.model.links import named
from testbed.model.presets import Found, find
from testbed.model.topology import AS_IT_IS, INTERNET, Conditions, Link, Roles, Topology
from testbed.plan.planner import own_seed
from testbed.stacks import infrastructure
from testbed.stacks.registry import BY, OURS, Adapter, Stacks, public, stacks
from testbed.studies.punch.mechanism import PUNCH, Mechanism, Play
from testbed.studies.punch.mechanisms import of
from testbed.studies.punch.meeting import Meeting

PUBLIC = "public"  # in place of a NAT's profile, of a peer that is behind none


class Cell(FrozenValue):
    """One pair of NATs, the stacks behind them, one try.  ``mode`` other than punch: a control."""

    peer: str  # ``ice``, or ``ice+pion``: the dialer's stack and the listener's
    profiles: tuple[str, ...]
    topology: str = "two-homes"  # a world's name, or its file
    mode: str = PUNCH
    repeat: int = 0  # which of the repetitions this is
    seed: int = 0
    skew_ms: float = 0.0
    conditions: Conditions = AS_IT_IS  # of the links on the internet
    relay: str = OURS  # the stack of the relay, where libp2p's circuits are what relays
    observers: tuple[tuple[str, str], ...] = ()  # host and stack, of those that are not ours
    meeting: Meeting | None = None  # which pair of a mesh; None: the world's a and b

    @property
    def stacks(self) -> Stacks:
        return stacks(self.peer)

    @property
    def mechanism(self) -> Mechanism:
        return of(self.stacks)

    @property
    def play(self) -> Play:
        """The mechanism in the cell's mode."""
        return self.mechanism.modes[self.mode]

    @property
    def patience_s(self) -> float | None:
        """Seconds that both ends try, from their starts; None where they are not told.

        Where packets get lost by chance, and among the many pairs of a mesh, a late answer may
        be a first one: there they are as patient as their contract has it.
        """
        patience, topology = self.mechanism.patience, self.build()
        able = all("patience" in end.features for end in self.stacks.both)
        if patience is None or not able or self.meeting is not None or topology.by_chance:
            return None
        ends = self.roles.a, self.roles.b
        return patience.seconds(round_trip_s(topology, *ends), self.skew_ms)

    @property
    def relaying(self) -> Adapter | None:
        """What the relay runs; None where the lab has no libp2p relay.

        UsageError if that stack does not speak the cell's transport, or cannot be driven
        beside its peers.
        """
        ends = self.stacks
        if "relay" not in ends.needs:
            return None
        relay = public(self.relay, ends.transport)
        if relay.contract == "unified" and ends.contract != "unified":
            raise UsageError(
                f"{relay.name} follows another contract than {ends.name}",
                remedy="a relay of the unified-testing contract serves peers of the same",
            )
        return relay

    @property
    def observing(self) -> Mapping[str, Adapter]:
        """What observers run that do not run our stack; UsageError for a stack that cannot."""
        transport = self.stacks.transport
        return {host: public(name, transport, "autonat_server") for host, name in self.observers}

    @property
    def cast(self) -> str:
        """Every stack in it: ``go-tcp+traversal-tcp@rust``, where another relays than ours."""
        relay = "" if self.relay == OURS else f"{BY}{self.relay}"
        return f"{self.peer}{relay}{''.join(f'{BY}{h}={s}' for h, s in self.observers)}"

    def prepare(self) -> None:
        """Before many forks: warm what it takes; UnfitError if a stack is not built."""
        self.stacks.prepare()
        if self.relaying is not None:
            self.relaying.prepare()
            for one in self.observing.values():
                one.prepare()
            infrastructure.warm()

    @property
    def pair(self) -> str:
        """What is the same for all repetitions: ``ice/full-cone--symmetric``."""
        suffix = "" if self.mode == PUNCH else f".{self.mode}"
        name = self.world.name
        place = "" if name == self.mechanism.topology else f"{name}/"
        late = f".skew-{self.skew_ms:g}" if self.skew_ms else ""
        ends = self.meeting.name if self.meeting else "--".join(self.nats)
        return f"{place}{self.cast}/{ends}{suffix}{late}{self.conditions.name}"

    @property
    def name(self) -> str:
        """Unique in a matrix, and the path of its folder."""
        return f"{self.pair}/{self.repeat}"

    @property
    def control(self) -> bool:
        return self.mode != PUNCH

    @property
    def group(self) -> str:
        """What the engine calls a pair."""
        return self.pair

    @property
    def labels(self) -> Mapping[str, str]:
        """Axis -> value; of a pair of a mesh with the hosts that meet."""
        said = {"stack": self.cast, "topology": self.world.name, "mode": self.mode}
        if self.meeting is None:
            return said
        return {"dialer": self.meeting.dialer, "listener": self.meeting.listener, **said}

    @property
    def lab(self) -> str:
        """The same for cells that share one; of most, it is their own."""
        if self.meeting is None:
            return self.name
        return f"{self.world.name}{self.conditions.name}/{self.repeat}"

    @property
    def words(self) -> int:
        """What its peers draw their session and their bytes from: not those of another pair."""
        if self.meeting is None:
            return self.seed
        return own_seed(self.seed, self.pair) % 2**32

    @property
    def world(self) -> Found:
        return find(self.topology)

    @property
    def nats(self) -> tuple[str, ...]:
        """The profiles that tell it from others: the chosen ones, else those nearest the peers."""
        if self.profiles and self.meeting is None:
            return self.profiles
        topology = self.build()
        ways = (topology.path_out(end) for end in (topology.roles.a, topology.roles.b))
        return tuple(way[0].profile if way else PUBLIC for way in ways)

    @property
    def roles(self) -> Roles:
        """Which hosts dial, listen and relay."""
        return self.build().roles

    def build(self) -> Topology:
        return self._topology

    @cached_property
    def _topology(self) -> Topology:
        topology = _built(self.world.word, self.profiles, self.conditions)
        return self.meeting.of(topology) if self.meeting else topology


@lru_cache(maxsize=256)
def _built(world: str, profiles: tuple[str, ...], conditions: Conditions) -> Topology:
    """A world is read once in a process, and what many cells share is made once."""
    access = conditions.over if conditions != AS_IT_IS else None
    topology = find(world).topology(*profiles, access=access)
    if conditions.link is None:
        return topology
    return _linked(topology, conditions.over(named(conditions.link)))


def _linked(topology: Topology, link: Link) -> Topology:
    """``topology`` with ``link`` from each home to the internet; servers keep theirs."""
    ends = (topology.roles.a, topology.roles.b, *topology.roles.peers)
    return replace(
        topology,
        routers=tuple(
            replace(one, link=link) if one.wan == INTERNET else one for one in topology.routers
        ),
        hosts=tuple(
            replace(one, link=link) if one.network == INTERNET and one.name in ends else one
            for one in topology.hosts
        ),
    )
