"""The peer under test: a program on namespaces, its image on containers."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def image(pytestconfig):
    """The image of this project, built where containers are asked for."""
    if pytestconfig.getoption("testbed_backend") != "docker":
        yield None
        return
    from testcontainers.core.image import DockerImage

    base = {"BASE": os.environ["BASE"]} if "BASE" in os.environ else {}
    with DockerImage(HERE, tag=f"my-puncher:{os.getpid()}", buildargs=base) as built:
        yield str(built)


@pytest.fixture
def puncher(peer, image):
    command = [sys.executable, HERE / "my_puncher.py"]
    return peer(command=command, image=image, mechanism="punch_udp")
