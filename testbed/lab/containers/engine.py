"""The Docker engine: how it is found, what it must have, and errors in our words."""

import os
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from testbed import places
from testbed.errors import BackendError, UnfitError
from testbed.lab.containers import images
from testbed.lab.containers.address import engine_socket

START = "start Docker's daemon as root, or name an engine of this machine by DOCKER_HOST"
if places.clone():
    START += '; a clone has one of its own: eval "$(.ci/engine start)"'
AS_ROOT = "run containers as root (sudo --preserve-env=DOCKER_HOST); namespaces need no root"
TIMEOUT = 60.0  # seconds for one request
Gone = NotFound


def require_root() -> None:
    """UnfitError unless this is the machine's root, and not that of a sandbox of a user's."""
    alone = Path("/proc/self/uid_map").read_text(encoding="utf-8").split()[2:] == ["1"]
    if os.geteuid() != 0 or alone:
        raise UnfitError("networks of containers are entered by root alone", remedy=AS_ROOT)


@contextmanager
def engine() -> Iterator[docker.APIClient]:
    """A client of the engine that DOCKER_HOST or docker's context names.

    UnfitError where none answers; what it refuses meanwhile is a BackendError.
    """
    path = engine_socket()
    try:
        with socket.socket(socket.AF_UNIX) as knocking:  # the SDK says less, and later
            knocking.connect(path)
        client = docker.APIClient(f"unix://{path}", "auto", TIMEOUT, num_pools=64)
    except PermissionError as error:
        raise UnfitError(f"the Docker engine at {path} does not serve you", remedy=AS_ROOT) from (
            error
        )
    except (OSError, DockerException) as error:
        raise UnfitError(f"no Docker engine answers at {path}: {error}", remedy=START) from error
    try:
        yield client
    except APIError as error:
        raise BackendError(f"the Docker engine refused: {error.explanation}") from error
    except (DockerException, requests.RequestException) as error:
        raise BackendError(f"the Docker engine does not answer: {error}") from error
    finally:
        client.close()


def require_images(client: docker.APIClient, names: Collection[str] = images.OURS) -> None:
    """UnfitError where one of ``names`` is missing, or ours and of other sources than these."""
    for name in names:
        try:
            labels = client.inspect_image(name)["Config"]["Labels"] or {}
        except NotFound:
            raise UnfitError(f"there is no image {name}", remedy="testbed build images") from None
        if name in (images.PEER, images.COTURN) and labels.get(images.MARK) != images.mark():
            raise UnfitError(f"the image {name} is of other sources", remedy="testbed build images")
