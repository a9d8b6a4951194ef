"""`testbed relays`: what a swarm costs its relays, with upgrades off and on."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from testbed.cli.commands.required import require_built
from testbed.cli.commands.running import run_cases
from testbed.cli.options import EngineWords
from testbed.errors import UsageError
from testbed.model.contract import CircuitLimits
from testbed.model.population import Population
from testbed.model.presets import asked
from testbed.model.swarming import Workload
from testbed.nat import rules
from testbed.nat.load import by_name
from testbed.stacks import infrastructure
from testbed.stacks.registry import Stacks, stacks
from testbed.studies.punch.mechanisms import of
from testbed.studies.relays.places import places
from testbed.studies.relays.populations import population
from testbed.studies.relays.study import STUDY
from testbed.studies.relays.swarm import Swarm

MOST = 128  # peers


def run_relays(
    populations: Sequence[str],
    sizes: Sequence[str],
    peers: Sequence[str],
    relays: int,
    workload: Workload,
    topology: str,
    kib: int,
    limits: str,
    repeat: int,
    seed: int,
    engine: EngineWords,
) -> int:
    """Run every swarm, with upgrades off and on, and report; the exit code."""
    chosen = [population(word) for word in populations]
    every = cases(chosen, [_size(word) for word in sizes], peers, relays, workload, repeat, seed)
    world = asked(topology)
    places(world.word)
    most = limits_of(limits)
    wanted = [replace(case, kib=kib, limits=most, world=world.word) for case in every]
    ends = {one.name: one for case in wanted for one in case.stacks.both}
    require_built(ends.values(), engine.backend)
    for one in ends.values():
        one.warm()
    infrastructure.warm()
    rules.warm()
    profiles = by_name((), dict.fromkeys(name for case in wanted for name in case.profiles))
    return run_cases(STUDY, wanted, engine, profiles=profiles, seed=seed, stacks=ends)


def cases(
    populations: Sequence[Population],
    sizes: Sequence[int],
    peers: Sequence[str],
    relays: int,
    workload: Workload,
    repeat: int,
    seed: int,
) -> list[Swarm]:
    """Each population, stack and size with upgrades off and on; UsageError for other stacks."""
    for name in peers:
        if not _upgraded(stacks(name)):
            raise UsageError(
                f"{name} is not upgraded by DCUtR",
                remedy="traversal-tcp, traversal-quic, go-tcp, ...",
            )
    found = [
        Swarm(who, size, name, upgrades, relays, workload, number, seed)
        for who, name, size, upgrades, number in product(
            populations, peers, sizes, (False, True), range(repeat)
        )
    ]
    return [replace(case, of=len(found)) for case in found]


def _upgraded(swarm: Stacks) -> bool:
    """Whether a relayed connection of theirs becomes a direct one, and no other way is tried."""
    found = of(swarm)
    return found.offers == "multiaddrs" and found.climbed is None


def limits_of(given: str) -> CircuitLimits:
    """KiB, seconds and circuits, with commas; UsageError for what is none."""
    try:
        kib, seconds, circuits = (int(word) for word in given.split(","))
        return CircuitLimits(data=kib * 1024, duration=seconds, circuits=circuits)
    except ValueError as error:
        raise UsageError(
            f"{given!r} are no limits of a relay", remedy="KiB, seconds and circuits: 128,120,16"
        ) from error


def _size(word: str) -> int:
    even = [str(size) for size in range(2, MOST + 1, 2)]
    if word not in even:
        raise UsageError(f"{word!r} is no number of peers", remedy=f"an even one from 2 to {MOST}")
    return int(word)
