"""`testbed autonat`: AutoNAT's verdicts beside the truth and the prediction."""

from collections.abc import Sequence

from testbed.cli.commands.running import run_cases
from testbed.cli.options import EngineWords
from testbed.nat.load import catalogue, named
from testbed.stacks.registry import OURS
from testbed.studies.autonat.asking import Asking
from testbed.studies.autonat.study import STUDY, AutonatCase


def run_autonat(
    names: Sequence[str], clients: str | None, servers: str | None, engine: EngineWords
) -> int:
    """Measure the profiles ``names`` (all, if none), and report; the exit code.

    ``clients`` and ``servers`` are libp2p stacks with commas: each client asks servers of each
    kind.  Without them our own stack asks its own.
    """
    profiles = named(names) if names else list(catalogue().values())
    used = {profile.name: profile for profile in profiles}
    cases = [AutonatCase(nat, one) for one in _asked(clients, servers) for nat in profiles]
    return run_cases(STUDY, cases, engine, profiles=used)


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
