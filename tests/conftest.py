"""The whole suite runs inside one sandbox; xdist's workers inherit it."""

import fcntl
import gc
import os
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

from testbed.pytest_plugin import within_sandbox

pytest_plugins = ["costs", "dealing", "patience"]
collect_ignore = ["example"]  # a project of a user's, with a configuration of its own

# How long an example takes is the machine's business, and no claim about the code.
hypothesis.settings.register_profile("testbed", deadline=None)
hypothesis.settings.load_profile("testbed")

# Profiles of whoever runs this are no part of the claims, and no library may make a folder of its
# own, as scapy does even where only root can.
os.environ.pop("TESTBED_PROFILES", None)
os.environ["XDG_CONFIG_HOME"] = "/proc/none"

within_sandbox()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """One worker compiles the tests, and the others wait for it rather than do the same."""
    with Path(__file__).open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fcntl.flock(lock, fcntl.LOCK_SH)
            fcntl.flock(lock, fcntl.LOCK_UN)
        return (yield)


def pytest_collection_finish() -> None:
    """What was collected stays to the end: no collector is to visit it, and no fork to copy it."""
    gc.collect()
    gc.freeze()
