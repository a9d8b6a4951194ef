"""A running lab can be entered from another terminal.

`testbed up` listens on an abstract socket named after the user and the process:
no file, gone with the process.  Whoever asks is given the namespaces of a node as
file descriptors, and enters them on its own terminal.

A name proves nothing, since anybody may bind any: both sides go by the credentials
that the kernel vouches for (SO_PEERCRED).  A user enters his own labs.  Root enters
another user's only if that lab is named, and as that user: what he has mounted over
the programs there must not be run with root's rights.
"""

import json
import os
import re
import select
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from testbed.errors import BackendError, UsageError
from testbed.lab import kernel
from testbed.model.frozen import FrozenValue

_PREFIX = "testbed-lab"
_NAME = re.compile(rf"@{_PREFIX}-(0|[1-9]\d{{0,9}})-([1-9]\d{{0,9}})$".encode(), re.MULTILINE)
DEADLINE = 5.0
KINDS = ("user", "pid", "ipc", "mnt", "net")  # the order in which they are entered


class Running(FrozenValue):
    """A lab that is up: the user and the process (outside) that hold it."""

    uid: int
    pid: int

    @property
    def address(self) -> str:
        return f"\0{_PREFIX}-{self.uid}-{self.pid}"


class Entrance(FrozenValue):
    """What a lab said: the words, the namespaces in the order of `KINDS`, its user's group.

    Asked for a node, ``words`` has its ``files`` and ``interfaces``; the last of the
    namespaces is the node's network.
    """

    words: dict[str, object]
    fds: list[int]
    gid: int


def running(*, everybody: bool = False) -> list[Running]:
    """Your labs (``everybody``, for root: all labs) in this network namespace, by process."""
    claimed = {Running(int(uid), int(pid)) for uid, pid in _NAME.findall(_unix_sockets())}
    own = os.getuid()
    found = (lab for lab in claimed if (everybody or lab.uid == own) and _is_up(lab))
    return sorted(found, key=lambda lab: lab.pid)


def _unix_sockets() -> bytes:
    """The kernel's list; others choose the names in it, which may be any bytes."""
    return Path("/proc/net/unix").read_bytes()


class About(FrozenValue):
    """What a lab says of itself."""

    lab: Running
    topology: str
    profiles: tuple[str, ...]
    up_s: float  # seconds that it has been up
    folder: str  # where `testbed up` was called

    @property
    def words(self) -> str:
        """One line for people."""
        nats = ", ".join(self.profiles)
        age = f"up {_age(self.up_s)}"
        return f"{self.lab.pid}: {self.topology} with {nats}, {age}, of {self.folder}"

    def to_json(self) -> dict[str, object]:
        """For `testbed labs --json`."""
        fields = asdict(self)
        return {**fields.pop("lab"), **fields}


def about(lab: Running) -> About:
    """BackendError if it does not answer, or says something else."""
    said = _ask(lab, {"about": True}).words
    try:
        return About(
            lab,
            str(said["topology"]),
            tuple(str(said["profiles"]).split()),
            float(str(said["up_s"])),
            str(said["folder"]),
        )
    except (KeyError, ValueError) as error:
        raise BackendError(f"the lab of process {lab.pid} does not say what it is") from error


def choose(word: str | None) -> Running:
    """The lab meant by ``word``, its process or its topology; without a word your only one.

    Says on stderr which one that is, where it was not named.  UsageError with those that are up,
    if there is none or more than one.
    """
    own = running()
    labs = own if word is None else _called(word)
    if len(labs) == 1:
        if word is None:
            print(f"testbed: in lab {about(labs[0]).words}", file=sys.stderr)
        return labs[0]
    if labs:
        known = "".join(f"\n    {about(lab).words}" for lab in labs)
        raise UsageError(f"{len(labs)} labs are up", remedy=f"say which, --lab NUMBER:{known}")
    remedy = "start one with `testbed up` and leave it"
    if others := running(everybody=True):
        known = ", ".join(str(lab.pid) for lab in others)
        remedy += f"; or say which: --lab, one of {known}"
    raise UsageError("no such lab is up", remedy=remedy)


def _called(word: str) -> list[Running]:
    """By process: any user's, since root may enter it; by topology: yours."""
    if word.isdigit():
        return [lab for lab in running(everybody=True) if lab.pid == int(word)]
    return [lab for lab in running() if about(lab).topology == word]


def _age(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def credentials(connection: socket.socket) -> tuple[int, int, int]:
    """Process, user and group at the other end, as this user namespace sees them."""
    pid, uid, gid = struct.unpack(
        "iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    )
    return pid, uid, gid


@contextmanager
def _connected(lab: Running) -> Iterator[tuple[socket.socket, int]]:
    """A connection to ``lab`` and its user's group; OSError if it is not what it says."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(DEADLINE)
        with _acting_as(lab.uid):
            client.connect(lab.address)
        pid, uid, gid = credentials(client)
        if (pid, uid) != (lab.pid, lab.uid):
            raise PermissionError(f"its name was taken by process {pid} of user {uid}")
        yield client, gid


@contextmanager
def _acting_as(uid: int) -> Iterator[None]:
    """Be ``uid`` in the eyes of a lab: in its user namespace root is nobody."""
    before = os.geteuid()
    if uid == before:
        yield
        return
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before)


def _is_up(lab: Running) -> bool:
    try:
        with _connected(lab):
            return True
    except OSError:
        return False


def _ask(lab: Running, request: dict[str, object]) -> Entrance:
    try:
        with _connected(lab) as (client, gid):
            client.send(json.dumps(request).encode())
            data, fds, _, _ = socket.recv_fds(client, 4096, len(KINDS))
        return Entrance(dict(json.loads(data or b"{}")), list(fds), gid)
    except (OSError, ValueError, TypeError) as error:
        raise BackendError(f"the lab of process {lab.pid} does not answer: {error}") from error


def stop(lab: Running) -> None:
    """Ask a lab to go down, and wait until it has gone; BackendError if it does not."""
    try:
        pidfd = os.pidfd_open(lab.pid)
    except ProcessLookupError:
        return  # it went by itself
    try:
        _ask(lab, {"stop": True})
        if not select.select([pidfd], [], [], DEADLINE)[0]:
            raise BackendError(f"the lab of process {lab.pid} did not go down in {DEADLINE:g} s")
    finally:
        os.close(pidfd)


def way_in(lab: Running, node: str) -> Entrance:
    """What `enter` needs; UsageError without such a node, BackendError without an answer."""
    answer = _ask(lab, {"node": node})
    if "error" in answer.words:
        raise UsageError(str(answer.words["error"]))
    if len(answer.fds) != len(KINDS):
        raise BackendError(f"the lab of process {lab.pid} gave no way in")
    return answer


def enter(lab: Running, answer: Entrance) -> None:
    """Into the lab's namespaces, as the lab's user for good; OSError.

    Not yet into the node's network, and into the lab's pid namespace only by a fork.
    """
    other = [
        fd
        for kind, fd in zip(KINDS[:-1], answer.fds, strict=False)
        if os.fstat(fd).st_ino != Path(f"/proc/self/ns/{kind}").stat().st_ino
    ]
    if lab.uid != os.getuid():
        os.setgroups([])
        os.setresgid(answer.gid, answer.gid, answer.gid)
        os.setresuid(lab.uid, lab.uid, lab.uid)
    for fd in other:
        kernel.setns(fd, 0)
