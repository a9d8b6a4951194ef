"""`testbed life`: what becomes of a direct path, beside what was expected."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from testbed.cli.building import given_profiles
from testbed.cli.commands import assigned
from testbed.cli.commands.required import require_built
from testbed.cli.commands.running import run_cases
from testbed.cli.options import EngineWords
from testbed.errors import UsageError
from testbed.model.presets import LIVES, asked
from testbed.model.profile import Profile
from testbed.nat import rules
from testbed.nat.load import by_name
from testbed.report.terminal import tell
from testbed.stacks import infrastructure
from testbed.stacks.registry import stacks
from testbed.studies.life.case import LifeCase, require_doable, require_followed, require_timed
from testbed.studies.life.scenarios import Scenario, scenario
from testbed.studies.life.study import STUDY
from testbed.studies.punch.sound import require_players

DEFAULT_PEERS = "punch-udp,traversal-quic,traversal-tcp"


def run_life(
    names: Sequence[str],
    topology: str | None,
    peers: str | None,
    nats: tuple[str | None, str | None],
    own: Sequence[str],
    engine: EngineWords,
    at: Sequence[str] = (),
) -> int:
    """Lead the lives of the scenarios ``names`` (all, if none), and report; the exit code.

    ``topology`` is a world that is led in their place; ``own`` are the stacks that the user
    described, and ``at`` what single hosts run.
    """
    said = assigned.read(at)
    chosen = peers or ",".join(own) or assigned.known(said) or DEFAULT_PEERS
    wanted = cases(names, chosen, nats, topology, said)
    if peers:
        casts = [stacks(name.strip()) for name in peers.split(",")]
        assigned.require_change(said, wanted[0].topology, casts)
    ends = {one.name: one for case in wanted for one in case.stacks.both}
    for name in own:
        if name not in ends:
            raise UsageError(f"--stack {name}=... has no effect", remedy=f"--peer {name}")
    require_built(ends.values(), engine.backend)
    for one in ends.values():
        one.warm()
    infrastructure.warm()
    rules.warm()
    return run_cases(STUDY, wanted, engine, profiles=_profiles(wanted), stacks=ends)


def cases(
    names: Sequence[str],
    peers: str,
    nats: tuple[str | None, str | None] = (None, None),
    topology: str | None = None,
    at: Mapping[str, str] = MappingProxyType({}),
) -> list[LifeCase]:
    """The scenarios ``names`` (all, if none) with each of ``peers``, stacks with commas.

    ``nats``: profiles for -a and -b, where they are not the scenario's.  ``topology``: a world in
    place of scenarios.  UsageError for a word that is unknown, for stacks that no life is known
    of, and for NATs between which there is no direct path to follow.  Of all scenarios those are
    left out that a stack cannot be in, which is said on stderr.
    """
    casts = [stacks(name.strip()) for name in peers.split(",")]
    for ends in casts:
        require_followed(ends)
    if topology is not None:
        told = [Scenario(asked(topology))]
    else:
        told = [scenario(name) for name in dict.fromkeys(names) or LIVES]
    told = [_between(one, nats) for one in told]
    for one in told:
        require_players(one.world.topology())
    found = [
        LifeCase(one, cast)
        for one in told
        for cast in dict.fromkeys(_cast(one, ends.name, at) for ends in casts)
    ]
    for case in found:
        require_followed(case.stacks)
    if not names and topology is None:
        found = list(_possible(found))
    for case in found:
        require_timed(case)
        require_doable(case)
        case.expected()
    return found


def _possible(found: Iterable[LifeCase]) -> Iterator[LifeCase]:
    for case in found:
        try:
            require_timed(case)
        except UsageError as error:
            tell(f"testbed: left out: {error.message}", error=True)
        else:
            yield case


def _cast(told: Scenario, peer: str, at: Mapping[str, str]) -> str:
    """The stacks of the two ends, some of them by host."""
    there = told.world.topology()
    parts = (there.roles.a, there.roles.b)
    found = assigned.assigned(told.world, at, parts)
    named = all(host in found for host in parts)
    return assigned.ends(found, there, None if named else peer, peer)


def _between(told: Scenario, nats: tuple[str | None, str | None]) -> Scenario:
    """The scenario between other NATs, if any are named."""
    if nats == (None, None):
        return told
    return Scenario(told.world, tuple(given_profiles(told.world, *nats)))


def _profiles(wanted: Sequence[LifeCase]) -> dict[str, Profile]:
    """Those of all NATs, as their files have them."""
    given = [one for case in wanted for one in case.scenario.given]
    return by_name(given, (name for case in wanted for name in case.profiles))
