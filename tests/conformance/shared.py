"""One measurement for all workers of a test run."""

import fcntl
import os
import pickle
from collections.abc import Callable
from typing import TypeVar

import pytest

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
