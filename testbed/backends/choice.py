"""Which backend a command's labs are made by."""

import os
from enum import StrEnum
from typing import TYPE_CHECKING

from testbed.errors import UsageError

if TYPE_CHECKING:
    from testbed.backends.containers.lab import Containers
    from testbed.backends.namespaces import Namespaces

CONTAINER_LABS = 4
SOCKET = "unix:///var/run/docker.sock"


def engine_socket() -> str:
    """Where this machine's engine listens, as DOCKER_HOST says; UsageError if it is elsewhere."""
    host = os.environ.get("DOCKER_HOST") or SOCKET
    if not host.startswith("unix://"):
        raise UsageError(
            f"DOCKER_HOST: the engine at {host} is not of this machine",
            remedy="containers are wired by this machine's kernel: use a local engine",
        )
    return host.removeprefix("unix://")


class Kind(StrEnum):
    """As ``--backend`` names them."""

    NAMESPACES = "namespaces"
    DOCKER = "docker"

    def at_once(self, jobs: int) -> int:
        """How many of ``jobs`` labs are wise: an engine starts containers one after another."""
        return jobs if self is Kind.NAMESPACES else min(jobs, CONTAINER_LABS)


def backend(kind: Kind) -> "Namespaces | Containers":
    """One that is ready for labs; UnfitError where this machine lacks what it needs.

    What killed runs left of containers is removed first.  Nothing of Docker is loaded
    for namespaces.
    """
    if kind is Kind.NAMESPACES:
        from testbed.backends.namespaces import Namespaces

        return Namespaces()
    from testbed.backends.containers.engine import engine, require_images, require_root
    from testbed.backends.containers.lab import Containers
    from testbed.backends.containers.reaper import reap

    require_root()
    with engine() as client:
        reap(client)
        require_images(client)
    return Containers()
