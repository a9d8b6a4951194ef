"""Which backend a command's labs are made by."""

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testbed.lab.containers.lab import Containers
    from testbed.lab.namespaces import Namespaces

CONTAINER_LABS = 4


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
        from testbed.lab.namespaces import Namespaces

        return Namespaces()
    from testbed.lab.containers.engine import engine, require_images, require_root
    from testbed.lab.containers.lab import Containers
    from testbed.lab.containers.reaper import reap

    require_root()
    with engine() as client:
        reap(client)
        require_images(client)
    return Containers()
