"""A cell of the matrix: everything that says what is run, and its folder.

A cell's folder is enough to run it again: ``cell.json`` (what), ``profiles/``
(the claims, as files) and ``plan.txt`` (every step with the rules).  Beside them is
what came of it, which README lists.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeGuard

from testbed import foreign
from testbed.errors import UsageError
from testbed.model.links import named
from testbed.model.presets import Found, find
from testbed.model.profile import Profile
from testbed.model.topology import AS_IT_IS, INTERNET, Conditions, Link, Roles, Topology
from testbed.naming import instead
from testbed.nat.load import load
from testbed.plan.planner import own_seed
from testbed.stacks import infrastructure
from testbed.stacks.registry import ADAPTERS, BY, OURS, Adapter, Stacks, public, stacks
from testbed.studies.punch.external import own, recall
from testbed.studies.punch.mechanism import PUNCH, Mechanism, Play
from testbed.studies.punch.mechanisms import MECHANISMS, of
from testbed.studies.punch.meeting import Meeting

PUBLIC = "public"  # in place of a NAT's profile, of a peer that is behind none
WORLDS = "worlds"  # in a cell's folder: the file of its world
MODES = tuple(dict.fromkeys(mode for one in MECHANISMS.values() for mode in one.modes))
LATEST_MS = 10_000.0  # of a skew: peers wait for each other some seconds longer
FORMAT = 3
RESULTS = (
    "result.json",
    "explanation.json",
    "run.json",
    "events.jsonl",
    "conntrack.jsonl",
    "drops.json",
    "capture.pcapng",
    "plan.txt",
)


def own_names(profiles: Iterable[str], worlds: Iterable[str]) -> tuple[str, ...]:
    """The files of a cell's folder, whatever came of it.

    ``profiles`` and ``worlds`` are the names of those that it may have been run with.
    """
    kept = {"profiles": profiles, WORLDS: worlds}
    files = (f"{folder}/{name}.toml" for folder, names in kept.items() for name in names)
    return ("cell.json", *RESULTS, *files)


@dataclass(frozen=True)
class Cell:
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
    def cast(self) -> str:
        """Every stack in it: ``go-tcp+traversal-tcp@rust``, where another relays than ours."""
        return self.peer if self.relay == OURS else f"{self.peer}{BY}{self.relay}"

    def prepare(self) -> None:
        """Before many forks: warm what it takes; UnfitError if a stack is not built."""
        self.stacks.prepare()
        if self.relaying is not None:
            self.relaying.prepare()
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


def save_cell(
    cell: Cell, profiles: Mapping[str, Profile], folder: Path, number: int, facts: Any
) -> None:
    """Write what is needed to run ``cell`` again, and take away what an earlier run left.

    ``number`` is the lab's, from which its addresses follow; ``facts``: versions and
    the like.
    """
    for name in RESULTS:
        (folder / name).unlink(missing_ok=True)
    world = folder / WORLDS / f"{cell.world.name}.toml"
    world.parent.mkdir(parents=True, exist_ok=True)
    world.write_text(cell.world.text, encoding="utf-8")
    kept = folder / "profiles"
    kept.mkdir(parents=True, exist_ok=True)
    for router in cell.build().routers:
        (kept / f"{router.profile}.toml").write_text(
            profiles[router.profile].text, encoding="utf-8"
        )
    told = asdict(cell) | {"topology": cell.world.name}
    value = {"format": FORMAT, "cell": told, "number": number, "facts": facts}
    if users := own([*(end.name for end in cell.stacks.both), cell.relay]):
        value["own"] = users
    (folder / "cell.json").write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def load_cell(folder: Path) -> tuple[Cell, dict[str, Profile], int]:
    """The cell of a folder, the profiles it was run with, and the lab's number.

    UsageError naming the file.
    """
    file = folder / "cell.json"
    try:
        data = json.loads(foreign.read_text(file))
        if data["format"] != FORMAT:
            raise UsageError(f"{file}: format {data['format']}, this version reads {FORMAT}")
        fields, number = data["cell"], data["number"]
        recall(data.get("own", {}))
        names = fields["profiles"]
        read: dict[str, Any] = {"profiles": tuple(names) if isinstance(names, list) else names}
        if (world := folder / WORLDS / f"{fields['topology']}.toml").exists():
            read["topology"] = find(str(world)).word
        if "conditions" in fields:
            read["conditions"] = Conditions(**fields["conditions"])
        if fields.get("meeting") is not None:
            read["meeting"] = Meeting.from_json(fields["meeting"])
        cell = Cell(**(fields | read))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{file}: not a cell that can be run again ({error})",
            remedy="name a folder that `testbed run` or `testbed matrix` has written",
        ) from error
    require_sane(cell, f"{file}: ")
    if not _whole(number) or number > 255:
        raise UsageError(f"{file}: number must be whole, 0 to 255, not {number!r}")
    kept = folder / "profiles"
    used = {router.profile for router in cell.build().routers}
    if missing := sorted(used - {path.stem for path in kept.glob("*.toml")}):
        raise UsageError(f"{kept / missing[0]}.toml: missing", remedy="run the cell anew")
    return cell, {name: load(kept / f"{name}.toml") for name in sorted(used)}, number


def load_versions(folder: Path) -> Mapping[str, str]:
    """The versions that the cell of a folder was run with; empty if it does not say."""
    facts = json.loads(foreign.read_text(folder / "cell.json")).get("facts")
    return facts if isinstance(facts, dict) else {}


def require_sane(cell: Cell, where: str = "") -> None:
    """UsageError naming the field that no run can have; ``where`` it came from."""
    names, skew = cell.profiles, cell.skew_ms
    wanted = {
        "peer": (isinstance(cell.peer, str), "a name"),
        "relay": (isinstance(cell.relay, str), "a name"),
        "profiles": (isinstance(names, tuple) and all(isinstance(n, str) for n in names), "names"),
        "topology": (isinstance(cell.topology, str), "a world's name or file"),
        "mode": (cell.mode in MODES, f"one of {', '.join(MODES)}"),
        "repeat": (_whole(cell.repeat), "whole, 0 or more"),
        "seed": (_whole(cell.seed), "whole, 0 or more"),
        "skew_ms": (
            isinstance(skew, int | float) and 0 <= skew <= LATEST_MS,
            f"a number from 0 to {LATEST_MS:g}",
        ),
    }
    for field, (fits, words) in wanted.items():
        if not fits:
            value = getattr(cell, field)
            remedy = instead(value, MODES) if field == "mode" and isinstance(value, str) else None
            raise UsageError(f"{where}{field} must be {words}, not {value!r}", remedy=remedy)
    _require_world(cell, where)
    require_able(cell, where)


def _require_world(cell: Cell, where: str) -> None:
    """UsageError where the world is unknown, takes fewer NATs, or has nobody for a part."""
    try:
        cell.world.chosen(*cell.profiles)
    except UsageError as error:
        raise UsageError(f"{where}{error.message}", remedy=error.remedy) from None
    if cell.world.world.events:
        raise UsageError(
            f"{where}what happens in {cell.world.name} happens to an established path",
            remedy=f"testbed life --topology {cell.world.word}",
        )
    require_players(cell.build(), where)


def require_players(topology: Topology, where: str = "") -> None:
    """UsageError where nobody plays a part; ``where`` it came from."""
    known, roles = [host.name for host in topology.hosts], topology.roles
    for part, name in (("a", roles.a), ("b", roles.b), ("relay", roles.relay)):
        if name not in known:
            raise UsageError(
                f"{where}nobody in {topology.name} plays {part}: it has no host {name!r}",
                remedy=f"write [roles] {part} = one of {', '.join(known)}",
            )


def require_able(cell: Cell, where: str = "") -> None:
    """UsageError for what its stacks cannot do, with what they can; ``where`` it came from."""
    ends = cell.stacks
    if cell.mode not in cell.mechanism.modes:
        remedy = f"one of: {', '.join(cell.mechanism.modes)}"
        raise UsageError(f"{where}{cell.peer} has no mode {cell.mode!r}", remedy=remedy)
    if cell.skew_ms and ends.contract == "unified":
        raise UsageError(f"{where}{cell.peer} starts when it likes: a skew has no effect on it")
    relay = cell.relaying
    if relay is not None and "announce" not in relay.features and _behind(cell):
        raise UsageError(
            f"{where}{relay.name} cannot be told at which port of a NAT it is reached, and the "
            f"relay of {cell.world.name} is behind {_behind(cell)}",
            remedy=f"--relay {' or '.join(_told(relay))}; or a relay on the internet",
        )
    if relay is None and cell.relay != OURS:
        raise UsageError(
            f"{where}{cell.peer} uses no libp2p relay: {cell.relay!r} has no effect on it",
            remedy="leave --relay out, or name a peer of DCUtR: traversal-quic, go-tcp, ...",
        )


def _told(relay: Adapter) -> list[str]:
    """The stacks in place of ``relay`` that can be told where a NAT forwards their port."""
    able = (one for one in ADAPTERS.values() if one.transport == relay.transport)
    return list(
        dict.fromkeys(
            one.family for one in able if one.plays("relay") and "announce" in one.features
        )
    )


def _behind(cell: Cell) -> str | None:
    """The router before the relay, if one is."""
    way = cell.build().path_out(cell.roles.relay)
    return way[0].name if way else None


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
