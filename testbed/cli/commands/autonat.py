"""`testbed autonat`: AutoNAT's verdicts beside the truth and the prediction."""

from collections.abc import Sequence

from testbed.cli.commands.running import run_cases
from testbed.cli.options import EngineWords
from testbed.model.presets import asked
from testbed.model.profile import Profile
from testbed.nat.load import catalogue, named
from testbed.stacks.registry import OURS
from testbed.studies.autonat.asking import Asking
from testbed.studies.autonat.study import STUDY, WORLD, AutonatCase


def run_autonat(
    names: Sequence[str],
    every: bool,
    clients: str | None,
    servers: str | None,
    topology: str | None,
    engine: EngineWords,
) -> int:
    """Measure the profiles ``names``, or ``every`` one, and report; the exit code.

    ``clients`` and ``servers`` are libp2p stacks with commas: each client asks servers of each
    kind.  Without them our own stack asks its own.  ``topology`` is a world by name or file;
    without a profile its own are measured.
    """
    world = WORLD if topology is None else asked(topology).word
    profiles: Sequence[Profile | None] = named(names) if names else [None]
    if every:
        profiles = list(catalogue().values())
    asking = _asked(clients, servers)
    cases = [AutonatCase(nat, one, 0, world) for one in asking for nat in profiles]
    for case in cases:
        case.require_possible()
    used = {name: nat for case in cases for name, nat in case.nats().items()}
    stacks = {stack.name for one in asking if one is not None for stack in one.stacks}
    return run_cases(STUDY, cases, engine, profiles=used, stacks=stacks)


def _asked(clients: str | None, servers: str | None) -> list[Asking | None]:
    """Who asks whom; UsageError or UnfitError for a stack that cannot."""
    if not (clients or servers):
        return [None]
    found = [
        Asking(client, server)
        for client in (clients or OURS).split(",")
        for server in (servers or OURS).split(",")
    ]
    for one in found:
        one.prepare()
    return [*found]
