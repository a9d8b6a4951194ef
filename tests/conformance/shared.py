"""One measurement for all workers of a test run."""

import fcntl
import os
import pickle
from collections.abc import Callable
from typing import TypeVar

import pytest
from patience import repeated

from testbed.certify.certificates import Certificate, Verdict, certify_all
from testbed.nat.load import catalogue
from testbed.words import sentence

T = TypeVar("T")


def once(factory: pytest.TempPathFactory, name: str, measure: Callable[[], T]) -> T:
    """What ``measure`` gives, measured by the first worker of this run that asks."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if run is None:
        return measure()
    kept = factory.getbasetemp().parent / f"{name}-{run}"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(pickle.dumps(measure()))
        result: T = pickle.loads(kept.read_bytes())
        return result


def profiles_certified(factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    """The certificate of each profile of ours, by name."""
    return once(factory, "certificates", _certified)


def _certified() -> dict[str, Certificate]:
    """Measured once more, in less company, where a busy machine measured nothing."""
    profiles = catalogue()
    found = {each.profile: each for each in certify_all(list(profiles.values()))}
    again = [profiles[name] for name, c in found.items() if c.verdict is Verdict.INCONCLUSIVE]
    for profile in again:
        repeated(f"{profile.name}: {reason(found[profile.name])}")
    return found | {each.profile: each for each in certify_all(again, jobs=4)}


def reason(certificate: Certificate) -> str:
    """Why nothing was measured, in words."""
    return "" if certificate.fault is None else sentence(certificate.fault)
