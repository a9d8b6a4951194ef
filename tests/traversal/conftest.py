"""Where the testbed is, its sandbox has a loopback that is down, and leads nowhere else.

The library's tests need nothing but the library; those `in_labs` need the testbed.
"""

import importlib.util
import subprocess

import pytest

ALONE = importlib.util.find_spec("testbed.lab") is None
collect_ignore = ["in_labs"] if ALONE else []


@pytest.fixture(scope="session", autouse=True)
def _loopback() -> None:
    if not ALONE:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
