"""`testbed study`: a study that needs no words of its own, also one of the user's."""

from collections.abc import Sequence
from typing import Any

from testbed.cli.commands.running import run_cases
from testbed.cli.options import EngineWords
from testbed.nat.load import catalogue, named
from testbed.studies.base import Request, Study


def run_named(
    study: Study[Any], nats: Sequence[str], repeat: int, seed: int, engine: EngineWords
) -> int:
    """Run ``study`` behind the profiles ``nats`` (all, if none); the exit code."""
    assert study.cases is not None  # found gives no other
    profiles = named(nats) if nats else list(catalogue().values())
    cases = study.cases(Request(profiles, repeat, seed))
    used = {profile.name: profile for profile in profiles}
    return run_cases(study, cases, engine, profiles=used, seed=seed)
