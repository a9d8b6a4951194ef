"""One scenario behind many NATs, each lab in a forked worker of its own."""

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from testbed.errors import TestbedError
from testbed.lab.audit import require_closed
from testbed.lab.forked import forked
from testbed.lab.namespaces import Namespaces
from testbed.model.lab import Lab
from testbed.model.profile import Profile
from testbed.model.topology import Topology
from testbed.plan.planner import plan

DEADLINE = 90.0  # seconds for one profile

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """``result`` is None when the scenario could not be run: ``error`` says why."""

    result: T | None
    error: str = ""


def sweep(
    profiles: Sequence[Profile],
    bench: Callable[[str], Topology],
    measure: Callable[[Lab], T],
    jobs: int,
) -> Iterator[tuple[Profile, Outcome[T]]]:
    """Run ``measure`` in a lab of ``bench`` for each profile, as each one ends.

    Inside a sandbox, and from a process with one thread.  ``jobs``: labs at a time.
    """
    tasks = [partial(_to_bytes, profile, bench, measure) for profile in profiles]
    for index, output, seconds in forked(tasks, jobs, DEADLINE):
        try:
            outcome: Outcome[T] = pickle.loads(output)  # what our own fork wrote
        except (pickle.UnpicklingError, EOFError):
            outcome = Outcome(None, f"its process ended without a result after {seconds:.1f} s")
        yield profiles[index], outcome


def _to_bytes(
    profile: Profile, bench: Callable[[str], Topology], measure: Callable[[Lab], T], slot: int
) -> bytes:
    started = time.monotonic()
    try:
        steps = plan(bench(profile.name), {profile.name: profile}, slot)
        with Namespaces().start(steps) as lab:
            require_closed(lab)
            outcome = Outcome(measure(lab))
    except TestbedError as error:
        outcome = Outcome(None, str(error))
    except Exception as error:  # a crash is the harness's fault, and no verdict
        after = time.monotonic() - started
        outcome = Outcome(None, f"crashed after {after:.1f} s: {error!r}")
    return pickle.dumps(outcome)
