"""The container engine of tests: is there one, loudly if not; looks at it from outside."""

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from testbed.errors import TestbedError
from testbed.lab.containers.engine import engine, require_images, require_root

REQUIRED = "TESTBED_REQUIRE_ENGINE"  # set where a missing engine is a failure: in CI


@cache
def missing() -> str | None:
    """Why no lab of containers can be had here; None if one can."""
    try:
        require_root()
        with engine() as client:
            require_images(client)
    except TestbedError as error:
        return str(error)
    return None


def require_engine() -> None:
    """Skip, or fail where CI promised an engine."""
    reason = missing()
    if reason and os.environ.get(REQUIRED):
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(f"NO CONTAINERS: {reason}")


def docker(*words: str) -> str:
    """What the client says; it shares nothing with the SDK that is tested."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def labelled(what: str = "container") -> set[str]:
    """Names of the testbed's containers, networks or volumes, running or not."""
    return set(_folders(what))


def own(folder: Path, what: str = "container") -> set[str]:
    """The same of runs whose TMPDIR is ``folder``: those of other tests come and go."""
    return {name for name, where in _folders(what).items() if where.startswith(f"{folder}/")}


def _folders(what: str) -> dict[str, str]:
    """Name -> its run's folder.

    One look at all: of a name that was listed before, the container may have gone.
    """
    words, name = (
        (["ps", "-a"], "{{.Names}}") if what == "container" else ([what, "ls"], "{{.Name}}")
    )
    form = name + ' {{.Label "testbed.folder"}}'
    lines = docker(*words, "--filter", "label=testbed.run", "--format", form).splitlines()
    return {name: folder for name, _, folder in (line.partition(" ") for line in lines)}


def inspected(container: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("inspect", container))[0]
    return found
