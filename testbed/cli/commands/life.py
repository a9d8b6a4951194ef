"""`testbed life`: what becomes of a direct path, beside what was expected."""

import sys
from collections.abc import Iterable, Iterator, Sequence

from testbed.capture import reader
from testbed.cli.building import given_profiles
from testbed.cli.commands.chosen import require_built
from testbed.cli.commands.running import run_cases
from testbed.cli.options import EngineWords
from testbed.errors import UsageError
from testbed.model.presets import LIVES, asked
from testbed.model.profile import Profile
from testbed.nat import rules
from testbed.nat.load import by_name
from testbed.stacks import infrastructure
from testbed.stacks.registry import stacks
from testbed.studies.life.case import LifeCase, require_followed, require_timed
from testbed.studies.life.scenarios import Scenario, scenario
from testbed.studies.life.study import STUDY
from testbed.studies.punch.cell import require_players

DEFAULT_PEERS = "punch-udp,traversal-quic,traversal-tcp"


def run_life(
    names: Sequence[str],
    topology: str | None,
    peers: str | None,
    nats: tuple[str | None, str | None],
    own: Sequence[str],
    engine: EngineWords,
) -> int:
    """Lead the lives of the scenarios ``names`` (all, if none), and report; the exit code.

    ``topology`` is a world that is led in their place; ``own`` are the stacks that the user
    described.
    """
    chosen = peers or ",".join(own) or DEFAULT_PEERS
    wanted = cases(names, chosen, nats, topology)
    ends = {one.name: one for case in wanted for one in case.stacks.both}
    for name in own:
        if name not in ends:
            raise UsageError(f"--stack {name}=... has no effect", remedy=f"--peer {name}")
    require_built(ends.values(), engine.backend)
    for one in ends.values():
        one.warm()
    infrastructure.warm()
    reader.warm()
    rules.warm()
    return run_cases(STUDY, wanted, engine, profiles=_profiles(wanted))


def cases(
    names: Sequence[str],
    peers: str,
    nats: tuple[str | None, str | None] = (None, None),
    topology: str | None = None,
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
    found = [LifeCase(one, ends.name) for one in told for ends in casts]
    if not names and topology is None:
        found = list(_possible(found))
    for case in found:
        require_timed(case)
        case.expected()
    return found


def _possible(found: Iterable[LifeCase]) -> Iterator[LifeCase]:
    for case in found:
        try:
            require_timed(case)
        except UsageError as error:
            print(f"testbed: left out: {error.message}", file=sys.stderr)
        else:
            yield case


def _between(told: Scenario, nats: tuple[str | None, str | None]) -> Scenario:
    """The scenario between other NATs, if any are named."""
    if nats == (None, None):
        return told
    return Scenario(told.world, tuple(given_profiles(told.world, *nats)))


def _profiles(wanted: Sequence[LifeCase]) -> dict[str, Profile]:
    """Those of all NATs, as their files have them."""
    given = [one for case in wanted for one in case.scenario.given]
    return by_name(given, (name for case in wanted for name in case.profiles))
