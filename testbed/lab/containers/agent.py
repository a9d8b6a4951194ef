"""The first process of a node's container: starts what the lab asks for, ends with the lab.

It runs by itself in the image, on the standard library alone.  The socket that it
connects to is the lab's; the connection is the lifeline: when it ends, for whatever
reason, so does the agent, and with it, as pid 1, every process of the container.

A request is a JSON list, the words of a program, with four descriptors: its standard
streams and a socket of its own.  On that socket the agent says ``{"pid": n}``, then
``{"code": n}``, negative for a signal.  ``stop`` and ``cont`` received there let it stand still
and go on; anything else, or the socket's end, kills it.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass

LONGEST = 1 << 16  # bytes of a request
PAUSES = {b"stop": signal.SIGSTOP, b"cont": signal.SIGCONT}
NOT_FOUND = 127
PASSED = ("PATH", "LANG", "PYTHONPATH")  # the image's own words; an engine's proxies are none
OWN = {"HOME": "/tmp", "TMPDIR": "/tmp", "USER": "nobody"}
SET_DUMPABLE = 4  # prctl(2)


@dataclass
class _Child:
    pid: int
    said: socket.socket


class Agent:
    """``lab`` is connected; ``poll`` watches it and every child's socket."""

    def __init__(self, lab: socket.socket) -> None:
        self._lab = lab
        self._children: dict[int, _Child] = {}  # by the descriptor of its socket
        self._poll = select.poll()

    def run(self) -> None:
        """Until the lab is gone."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # pid 1 has no defaults
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        for fd in (self._lab.fileno(), reader):
            self._poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in self._poll.poll():
                if fd == reader:
                    os.read(reader, 4096)
                    self._reap()
                elif fd in self._children:
                    self._heed(fd)
                elif fd == self._lab.fileno() and not self._obey():
                    return

    def _obey(self) -> bool:
        """One request; False when there will be no more."""
        data, fds = receive(self._lab, LONGEST, 4)
        if not data:
            return False
        *streams, said = fds
        self._start(json.loads(data), streams, socket.socket(fileno=said))
        for fd in streams:
            os.close(fd)
        return True

    def _start(self, words: list[str], streams: list[int], said: socket.socket) -> None:
        actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(streams)]
        passed = {name: os.environ[name] for name in PASSED if name in os.environ}
        ordinary = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM)
        try:
            pid = os.posix_spawnp(
                words[0], words, passed | OWN, file_actions=actions, setsid=True, setsigdef=ordinary
            )
        except OSError as error:
            os.write(streams[2], f"{words[0]}: {error.strerror}\n".encode())
            _say(said, {"pid": 0}, {"code": NOT_FOUND})
            said.close()
            return
        print(f"{pid}: {' '.join(words)}", flush=True)
        _say(said, {"pid": pid})
        self._children[said.fileno()] = _Child(pid, said)
        self._poll.register(said.fileno(), select.POLLIN)

    def _heed(self, fd: int) -> None:
        """Its owner wants it to stand still or to go on, or wants it dead, or is."""
        child = self._children[fd]
        try:
            wanted = child.said.recv(LONGEST)
        except OSError:
            wanted = b""
        if wanted in PAUSES:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, PAUSES[wanted])
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        self._poll.unregister(fd)  # `_reap` still tells the exit code

    def _reap(self) -> None:
        """All that have ended; among them orphans of others, which pid 1 inherits."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            for fd, child in list(self._children.items()):
                if child.pid == pid:
                    with contextlib.suppress(ProcessLookupError):  # its group is no more
                        os.killpg(pid, signal.SIGKILL)
                    print(f"{pid}: ended with {code}", flush=True)
                    _say(child.said, {"code": code})
                    del self._children[fd]
                    self._unwatch(fd)
                    child.said.close()

    def _unwatch(self, fd: int) -> None:
        with contextlib.suppress(KeyError):  # killed before
            self._poll.unregister(fd)


def receive(lab: socket.socket, longest: int, count: int) -> tuple[bytes, list[int]]:
    """A message and its descriptors, which no program inherits; empty at the lab's end."""
    try:
        data, fds, _, _ = socket.recv_fds(lab, longest, count)  # ignores MSG_CMSG_CLOEXEC
    except ConnectionError:
        return b"", []
    for fd in fds:
        os.set_inheritable(fd, False)
    return data, list(fds)


def _say(to: socket.socket, *words: dict[str, int]) -> None:
    try:
        for word in words:
            to.send(json.dumps(word).encode())
    except OSError:
        pass  # nobody listens any more


def main() -> None:
    """``agent.py SOCKET NODE``: introduce ourselves with our network, then serve."""
    path, node = sys.argv[1:]
    ctypes.CDLL(None).prctl(SET_DUMPABLE, 0, 0, 0, 0)  # programs run as the same user
    lab = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    lab.connect(path)
    network = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    socket.send_fds(lab, [node.encode()], [network])
    os.close(network)
    Agent(lab).run()


if __name__ == "__main__":
    main()
