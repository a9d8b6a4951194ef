"""A running lab can be entered from another terminal.

`testbed up` listens on an abstract socket named after the user and the process:
no file, gone with the process.  Whoever asks (the same user or root) is given
the namespaces of a node as file descriptors, and enters them on its own terminal.
"""

import json
import os
import select
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testbed.backends import kernel
from testbed.backends.namespaces import NamespaceLab
from testbed.backends.process import enter_node
from testbed.errors import BackendError, TestbedError, UsageError

_PREFIX = "testbed-lab"
_DEADLINE = 5.0
_KINDS = ("user", "pid", "ipc", "mnt", "net")  # the order in which they are entered


@dataclass(frozen=True)
class Running:
    """A lab that is up: the user and the process (outside) that hold it."""

    uid: int
    pid: int

    @property
    def address(self) -> str:
        return f"\0{_PREFIX}-{self.uid}-{self.pid}"


def listen() -> socket.socket:
    """The socket of a lab to be.  Call it before the sandbox is entered: the name
    belongs to the network namespace in which it is bound."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(Running(os.getuid(), os.getpid()).address)
    server.listen(8)
    return server


def running() -> list[Running]:
    """The labs of this machine (of this network namespace) that can be attached to."""
    found = set()
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        name = line.split()[-1]
        if name.startswith(f"@{_PREFIX}-"):
            uid, pid = name.rsplit("-", 2)[-2:]
            found.add(Running(int(uid), int(pid)))
    mine = (lab for lab in found if os.getuid() in (0, lab.uid))
    return sorted(mine, key=lambda lab: lab.pid)


def choose(pid: int | None) -> Running:
    """The lab meant by ``pid``, or the only one; UsageError otherwise."""
    labs = [lab for lab in running() if pid in (None, lab.pid)]
    if not labs:
        raise UsageError("no such lab is up", remedy="start one with `testbed up` and leave it")
    if len(labs) > 1:
        known = ", ".join(str(lab.pid) for lab in labs)
        raise UsageError("several labs are up", remedy=f"say which: --lab, one of {known}")
    return labs[0]


def serve(server: socket.socket, lab: NamespaceLab) -> None:
    """Answer until asked to stop, or until a signal ends the process."""
    while True:
        select.select([server], [], [])
        client, _ = server.accept()
        with client:
            client.settimeout(_DEADLINE)
            uid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[
                1
            ]
            try:
                request = json.loads(client.recv(4096))
            except (OSError, ValueError):
                continue
            if uid not in (0, os.getuid()):  # inside, the owner is 0 too
                continue
            if request.get("stop"):
                return
            _answer(client, lab, str(request.get("node")))


def _answer(client: socket.socket, lab: NamespaceLab, node: str) -> None:
    fds: list[int] = []
    try:
        netns, files = lab.entrance(node)
        fds = [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY) for kind in _KINDS[:-1]]
        text = json.dumps({"files": str(files) if files else None}).encode()
        socket.send_fds(client, [text], [*fds, netns])
    except TestbedError as error:
        client.send(json.dumps({"error": str(error)}).encode())
    except OSError:
        pass  # the client went away
    finally:
        for fd in fds:
            os.close(fd)


def _ask(lab: Running, request: dict[str, object]) -> tuple[dict[str, object], list[int]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(_DEADLINE)
        try:
            client.connect(lab.address)
            client.send(json.dumps(request).encode())
            data, fds, _, _ = socket.recv_fds(client, 4096, len(_KINDS))
        except OSError as error:
            raise BackendError(f"the lab of process {lab.pid} does not answer: {error}") from error
    return (json.loads(data) if data else {}), list(fds)


def stop(lab: Running) -> None:
    """Ask a lab to go down, and wait until it has gone; BackendError if it does not."""
    pidfd = os.pidfd_open(lab.pid)
    try:
        _ask(lab, {"stop": True})
        if not select.select([pidfd], [], [], _DEADLINE)[0]:
            raise BackendError(f"the lab of process {lab.pid} did not go down in {_DEADLINE:g} s")
    finally:
        os.close(pidfd)


def run_in(lab: Running, node: str, command: Sequence[str]) -> int:
    """Run ``command`` in ``node`` of a lab on this terminal; gives the exit code."""
    answer, fds = _ask(lab, {"node": node})
    if "error" in answer:
        raise UsageError(str(answer["error"]))
    for kind, fd in zip(_KINDS[:-1], fds, strict=False):
        same = os.fstat(fd).st_ino == os.stat(f"/proc/self/ns/{kind}").st_ino  # noqa: PTH116
        if not same:
            kernel.setns(fd, 0)
    files = answer.get("files")
    pid = os.fork()  # a process enters a pid namespace only by being born into it
    if pid == 0:
        try:
            enter_node(fds[-1], Path(str(files)) if files else None)
            os.environ["PS1"] = f"[{node}] \\w \\$ "
            os.execvp(command[0], list(command))
        except OSError as error:
            os.write(2, f"testbed: {command[0]}: {error.strerror}\n".encode())
        finally:
            os._exit(127)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
