"""A user's image as a program in a node: its own entry point, in the node's network.

The image runs unmodified in a container of its own, which shares the node's network and
process namespaces: it has no other way out, and ends when the node's agent does.  A fork
of this process stands between, for the engine carries all streams in one.
"""

import contextlib
import os
import select
import struct
import sys
from collections.abc import Mapping

import docker
from docker.errors import DockerException, ImageNotFound
from requests import RequestException

from testbed.errors import UnfitError
from testbed.lab.containers.address import engine_socket
from testbed.lab.containers.crew import (
    FOLDER,
    MEMORY,
    NODE,
    PROCESSES,
    RUN,
    USER,
    cgroup_parent,
    remove,
)
from testbed.lab.containers.engine import Gone
from testbed.model.lab import Image

_HEAD = struct.Struct("!BxxxI")  # which stream, how many bytes follow
_AT_ONCE = 1 << 16  # bytes
_LABELS = (RUN, NODE, FOLDER, USER)
NOT_STARTED = 125  # as docker's own client ends


def require(client: docker.APIClient, image: Image) -> None:
    """UnfitError where the engine does not have it."""
    try:
        client.inspect_image(image.reference)
    except ImageNotFound:
        raise UnfitError(
            f"the engine has no image {image.reference}", remedy=f"docker pull {image.reference}"
        ) from None


def run(image: Image, node: str, name: str) -> int:
    """Run it beside the container ``node``, with our descriptors 0, 1 and 2; its exit code.

    To be called in a process of its own.  ``name`` is the container's to be.
    """
    client = docker.APIClient(f"unix://{engine_socket()}", "auto", None)
    try:
        made = _create(client, image, node, name)
        streams = client.attach_socket(made, {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
        client.start(made)
        _carry(streams.fileno())
        code = int(client.wait(made)["StatusCode"])
        remove(client, made)
    except (DockerException, RequestException, OSError) as error:
        print(f"{image.reference}: {error}", file=sys.stderr)
        return NOT_STARTED
    return code


def discard(client: docker.APIClient, name: str) -> None:
    """Remove what a fork that was killed left behind, if anything."""
    with contextlib.suppress(Gone):
        remove(client, name)


def _create(client: docker.APIClient, image: Image, node: str, name: str) -> str:
    labels: Mapping[str, str] = client.inspect_container(node)["Config"]["Labels"]
    config = client.create_host_config(
        network_mode=f"container:{node}",
        pid_mode=f"container:{node}",
        cap_add=list(image.capabilities),
        security_opt=["no-new-privileges"],
        pids_limit=PROCESSES,
        mem_limit=MEMORY,
        cgroup_parent=cgroup_parent(client),
    )
    made = client.create_container(
        image.reference,
        name=name,
        environment=dict(image.environment),
        stdin_open=True,
        host_config=config,
        labels={key: labels[key] for key in _LABELS},
    )
    return str(made["Id"])


def _carry(engine: int) -> None:
    """Between our streams and the engine's one, until that ends."""
    os.set_blocking(engine, True)
    poll = select.poll()
    poll.register(engine, select.POLLIN)
    poll.register(0, select.POLLIN)
    buffer = b""
    while True:
        for fd, _ in poll.poll():
            data = os.read(fd, _AT_ONCE)
            if fd == 0:
                _give(poll, engine, data)
            elif data:
                buffer = _sort(buffer + data)
            else:
                return


def _give(poll: select.poll, engine: int, data: bytes) -> None:
    """What we were told, to the program; its end of input is left open, as a terminal's is."""
    if not data:
        poll.unregister(0)
    while data:
        data = data[os.write(engine, data) :]


def _sort(buffer: bytes) -> bytes:
    """Write whole frames to the streams that they are of; the rest."""
    while len(buffer) >= _HEAD.size:
        stream, size = _HEAD.unpack_from(buffer)
        end = _HEAD.size + size
        if len(buffer) < end:
            break
        data, buffer = buffer[_HEAD.size : end], buffer[end:]
        with contextlib.suppress(BrokenPipeError):
            while data:
                data = data[os.write(stream, data) :]
    return buffer
