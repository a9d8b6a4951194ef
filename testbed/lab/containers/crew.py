"""The containers of one lab: started together, each with its agent, and gone with the lab.

A lab's have no network of the engine's at all; those that look at a compose project have
the project's.  A folder of the run holds the socket that
the agents connect to and a lock; it is gone as soon as nobody needs it.  Whoever finds
the lock free knows that the run is over, however it ended (`reaper`).
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import docker

from testbed.errors import BackendError
from testbed.lab.containers.agent import receive
from testbed.lab.containers.engine import Gone, engine, require_images
from testbed.lab.containers.remote import Agent
from testbed.model.frozen import FrozenValue

RUN, NODE, FOLDER, USER = (f"testbed.{what}" for what in ("run", "node", "folder", "user"))
LOCK, SOCKET = "lock", "lab.sock"
PROCESSES = 512  # and threads, in one container
MEMORY = 4 << 30  # bytes, likewise
ROOM = 64 << 20  # bytes in each folder that can be written to, all in memory
START_DEADLINE = 60.0  # seconds until all agents have come
_INSIDE = "/run/testbed"
_AGENT = ("python3", "-ISu", "/usr/local/lib/testbed/agent.py", f"{_INSIDE}/{SOCKET}")
_AT_ONCE = 8  # requests to the engine
_REMOVALS = 4  # tries


class Member(FrozenValue):
    """A node's container to be.  ``root``: it configures a network, and is root for that.

    ``network`` is the engine's name of one, at whose ``address`` it will be, or
    ``container:ID`` for that container's.
    """

    node: str
    image: str
    root: bool
    files: Mapping[str, str]  # name below /etc -> text
    network: str = "none"
    address: IPv4Address | None = None


@contextmanager
def alone() -> Iterator[Path]:
    """Where the folders of this user's runs are, while nobody else makes or removes one."""
    place = Path(tempfile.gettempdir(), f"testbed-containers-{os.getuid()}")
    place.mkdir(mode=0o700, exist_ok=True)
    held = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(held).st_uid != os.getuid():
            raise BackendError(f"{place} belongs to somebody else")
        fcntl.flock(held, fcntl.LOCK_EX)
        yield place
    finally:
        os.close(held)


@contextmanager
def crew(members: Sequence[Member]) -> Iterator[dict[str, Agent]]:
    """The agents by node; leaving the context takes the containers away.

    UnfitError without engine or images, BackendError for a container that does not come.
    The calling process has one thread again when this yields.
    """
    with ExitStack() as stack:
        client = stack.enter_context(engine())
        require_images(client, {member.image for member in members})
        run = secrets.token_hex(6)
        folder = stack.enter_context(_folder(run))
        server = stack.enter_context(_listening(folder))
        made: list[str] = []
        stack.callback(_remove, client, made)
        pool = stack.enter_context(ThreadPoolExecutor(_AT_ONCE))
        parent = cgroup_parent(client)
        made += pool.map(lambda one: _create(client, one, run, folder, parent), members)
        list(pool.map(client.start, made))
        pool.shutdown()
        agents = _gather(client, server, run, [member.node for member in members])
        for agent in agents.values():
            stack.callback(agent.close)
        server.close()
        (folder / SOCKET).unlink()  # a peer inside has nobody to connect to
        yield agents


@contextmanager
def _folder(run: str) -> Iterator[Path]:
    with alone() as place:
        folder = place / run
        folder.mkdir()
        held = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _listening(folder: Path) -> socket.socket:
    """Only through the folder, which is ours alone, or a mount of it, is it reached."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    held = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:  # a socket's name has 107 bytes at most, and a user's TMPDIR may have more
        server.bind(f"/proc/self/fd/{held}/{SOCKET}")
    finally:
        os.close(held)
    (folder / SOCKET).chmod(0o666)  # agents of hosts are ordinary users
    server.listen(64)
    return server


def _name(run: str, node: str) -> str:
    return f"testbed-{run}-{node}"


def cgroup_parent(client: docker.APIClient) -> str | None:
    """Where the containers' control groups are.

    The engine's own place is one group, and all containers together then get the processor
    time of one process: on a busy machine they starve, and with them what is measured.
    systemd's slices, the other driver, have weights of their own.
    """
    return "/" if client.info().get("CgroupDriver") == "cgroupfs" else None


def _create(
    client: docker.APIClient, member: Member, run: str, folder: Path, parent: str | None
) -> str:
    """A container with no privilege but those over its own network, and our labels."""
    binds = [f"{folder / SOCKET}:{_INSIDE}/{SOCKET}"]
    for name, text in member.files.items():
        file = folder / f"{member.node}-{name}"
        file.write_text(text, encoding="utf-8")
        binds.append(f"{file}:/etc/{name}:ro")
    config = client.create_host_config(
        network_mode=member.network,
        cap_drop=["ALL"],
        cap_add=["NET_ADMIN", "NET_RAW"] if member.root else [],
        security_opt=["no-new-privileges"],
        pids_limit=PROCESSES,
        mem_limit=MEMORY,
        read_only=True,
        tmpfs=dict.fromkeys(("/tmp", "/run"), f"mode=1777,size={ROOM}"),
        shm_size=ROOM,
        auto_remove=True,
        binds=binds,
        cgroup_parent=parent,
    )
    made: dict[str, Any] = client.create_container(
        member.image,
        name=_name(run, member.node),
        hostname=None if member.network.startswith("container:") else member.node,
        entrypoint=[*_AGENT, member.node],
        command=[],
        user="root" if member.root else "node",
        host_config=config,
        networking_config=_at(client, member),
        labels={RUN: run, NODE: member.node, FOLDER: str(folder), USER: str(os.getuid())},
    )
    return str(made["Id"])


def _at(client: docker.APIClient, member: Member) -> dict[str, Any] | None:
    if member.address is None:
        return None
    end = client.create_endpoint_config(ipv4_address=str(member.address))
    made: dict[str, Any] = client.create_networking_config({member.network: end})
    return made


def _gather(
    client: docker.APIClient, server: socket.socket, run: str, nodes: Sequence[str]
) -> dict[str, Agent]:
    """An agent of every node; BackendError, with a container's last words, if one is missing."""
    agents: dict[str, Agent] = {}
    end = time.monotonic() + START_DEADLINE
    try:
        while len(agents) < len(nodes):
            server.settimeout(max(0.001, end - time.monotonic()))
            control, _ = server.accept()
            control.settimeout(max(0.001, end - time.monotonic()))
            name, fds = receive(control, 200, 1)
            control.settimeout(None)
            if fds:  # an agent that died of something else says nothing
                node = name.decode()
                agents[node] = Agent(node, control, fds[0], _name(run, node))
    except TimeoutError:
        for agent in agents.values():
            agent.close()
        late = [node for node in nodes if node not in agents]
        words = _last_words(client, _name(run, late[0]))
        raise BackendError(
            f"containers did not come up within {START_DEADLINE:g} s: {', '.join(late)}\n{words}",
            node=late[0],
        ) from None
    return agents


def _last_words(client: docker.APIClient, container: str) -> str:
    try:
        return str(client.logs(container, tail=5).decode(errors="replace"))
    except Gone:
        return "it is gone"


def _remove(client: docker.APIClient, containers: Sequence[str]) -> None:
    """Until all are gone; several at once, for each takes the engine a while."""
    if containers:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda one: remove(client, one), containers))


def remove(client: docker.APIClient, container: str) -> None:
    """Return when it is gone, whoever removes it.

    The engine of a busy machine gives up with an error of its own (500) when the container's end
    did not reach it within ten seconds of SIGKILL: it is asked again.
    """
    with contextlib.suppress(Gone):
        for left in reversed(range(_REMOVALS)):
            try:
                client.remove_container(container, force=True, v=True)
            except docker.errors.APIError as error:
                if error.status_code == 409:  # its removal is under way: it removes itself
                    client.wait(container, condition="removed")
                elif not error.is_server_error() or not left:
                    raise
                else:
                    continue
            return
