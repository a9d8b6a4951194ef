"""Where the engine of this machine listens.  Nothing of Docker is loaded here."""

import os

from testbed.errors import UsageError

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
