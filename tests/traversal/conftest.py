"""Loopback is up: it is the sandbox's own, and leads nowhere else."""

import subprocess

import pytest


@pytest.fixture(scope="session", autouse=True)
def _loopback() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
