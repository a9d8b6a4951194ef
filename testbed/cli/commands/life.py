"""`testbed life`: what becomes of a direct path, beside what was expected."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from testbed.capture import reader
from testbed.cli.commands.chosen import require_built
from testbed.cli.commands.running import run_cases
from testbed.cli.options import EngineWords
from testbed.errors import UsageError
from testbed.model.profile import Profile
from testbed.nat import rules
from testbed.nat.load import by_name, named
from testbed.stacks import infrastructure
from testbed.stacks.registry import stacks
from testbed.studies.life.case import LifeCase, require_followed, require_timed
from testbed.studies.life.scenarios import SCENARIOS, Scenario, scenario
from testbed.studies.life.study import STUDY

DEFAULT_PEERS = "punch-udp,traversal-quic,traversal-tcp"


def run_life(
    names: Sequence[str],
    peers: str | None,
    nats: tuple[str | None, str | None],
    own: Sequence[str],
    engine: EngineWords,
) -> int:
    """Lead the lives of the scenarios ``names`` (all, if none), and report; the exit code.

    ``own`` are the stacks that the user described.
    """
    chosen = peers or ",".join(own) or DEFAULT_PEERS
    wanted = cases(names, chosen, nats)
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
    names: Sequence[str], peers: str, nats: tuple[str | None, str | None] = (None, None)
) -> list[LifeCase]:
    """The scenarios ``names`` (all, if none) with each of ``peers``, stacks with commas.

    ``nats``: profiles of the homes, where they are not the scenario's.  UsageError for a word
    that is unknown, for stacks that no life is known of, and for NATs between which there is
    no direct path to follow.  Of all scenarios those are left out that a stack cannot be in,
    which is said on stderr.
    """
    casts = [stacks(name.strip()) for name in peers.split(",")]
    for ends in casts:
        require_followed(ends)
    told = [scenario(name) for name in dict.fromkeys(names)] or list(SCENARIOS.values())
    told = [_between(one, nats) for one in told]
    found = [LifeCase(one, ends.name) for one in told for ends in casts]
    if not names:
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
    a, b = nats
    if not (a or b):
        return told
    told = replace(told, a=a or told.a, b=b or told.b)
    first, second = named([told.a, told.b])  # an error where two files share a name
    return replace(told, a=first.name, b=second.name, given=(first, second))


def _profiles(wanted: Sequence[LifeCase]) -> dict[str, Profile]:
    """Those of all NATs, as their files have them."""
    given = [one for case in wanted for one in case.scenario.given]
    return by_name(given, (name for case in wanted for name in case.profiles))
