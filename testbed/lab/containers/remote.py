"""Processes in containers, as `testbed.model.lab.Process`: the agent starts and ends them.

The pipes are real ones, whose far ends the agent was handed; nothing stands between.
"""

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO

from testbed.errors import BackendError
from testbed.lab import waits

DEADLINE = 10.0  # seconds for an agent to start a program or to end one


class RemoteProcess:
    """A program in a container; ``pid`` is its number there, 0 if it could not be started."""

    def __init__(self, said: socket.socket, pipes: Sequence[int], node: str) -> None:
        self._said = said
        self._code: int | None = None
        self.killed = False
        self._node = node
        self.stdin: IO[bytes] = os.fdopen(pipes[0], "wb", 0)
        self.stdout: IO[bytes] = os.fdopen(pipes[1], "rb", 0)
        self.stderr: IO[bytes] = os.fdopen(pipes[2], "rb", 0)
        said.settimeout(DEADLINE)
        try:
            self.pid = int(json.loads(said.recv(100))["pid"])
        except (OSError, ValueError) as error:
            self._close_all()
            raise BackendError(f"the container's agent does not answer: {error}", node=node) from (
                error
            )

    def poll(self) -> int | None:
        return self._heard(0.0)

    def halted(self) -> bool:
        return False  # its parent is the agent, which is told of its end alone

    def wait(self, timeout: float) -> int:
        code = self._heard(timeout)
        if code is None:
            raise TimeoutError(f"{self._node}: process {self.pid} still runs after {timeout} s")
        return code

    def waited_ns(self) -> int | None:
        """The engine's processes have no number here: at most as long as any on this machine."""
        return waits.of_machine()

    def kill(self) -> None:
        if self.poll() is None:
            self.killed = True
            with contextlib.suppress(OSError):
                self._said.send(b"kill")

    def pause(self) -> None:
        """Let it and its group stand still; its clock goes on."""
        self._said.send(b"stop")

    def resume(self) -> None:
        """Let them go on."""
        self._said.send(b"cont")

    def close(self) -> None:
        """Kill, wait for its end, close the pipes."""
        if self._said.fileno() < 0:
            return
        self.kill()
        with contextlib.suppress(TimeoutError):  # its container goes, and it with that
            self.wait(DEADLINE)
        self._close_all()

    def _heard(self, timeout: float) -> int | None:
        """The exit code once the agent said it, or its container went."""
        if self._code is None and select.select([self._said], [], [], timeout)[0]:
            try:
                self._code = int(json.loads(self._said.recv(100))["code"])
            except (OSError, ValueError):  # the end: it was killed with its container
                self._code = -signal.SIGKILL
        return self._code

    def _close_all(self) -> None:
        self._said.close()
        for pipe in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(OSError):
                pipe.close()


@dataclass
class Agent:
    """A container's first process, as the lab holds it: its lifeline and its network."""

    node: str
    control: socket.socket
    netns: int
    container: str = ""  # its name, for the engine and for people

    def start(self, words: Sequence[str]) -> RemoteProcess:
        """Run a program; one that is not there ends with 127.  BackendError: no agent."""
        pipes = [os.pipe() for _ in range(3)]
        theirs = (pipes[0][0], pipes[1][1], pipes[2][1])
        ours = (pipes[0][1], pipes[1][0], pipes[2][0])
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            text = json.dumps(list(words)).encode()
            socket.send_fds(self.control, [text], [*theirs, there.fileno()])
        except OSError as error:
            for fd in ours:
                os.close(fd)
            here.close()
            raise BackendError(f"the container has gone: {error}", node=self.node) from error
        finally:
            there.close()
            for fd in theirs:
                os.close(fd)
        return RemoteProcess(here, ours, self.node)

    def close(self) -> None:
        """The agent ends with this, and its container with it."""
        self.control.close()
        os.close(self.netns)


def finish(process: RemoteProcess, timeout: float) -> tuple[int, bytes]:
    """Wait for the end: the exit code, and all that was said, standard error last.

    TimeoutError after ``timeout`` seconds.
    """
    end = time.monotonic() + timeout
    said = {process.stdout.fileno(): b"", process.stderr.fileno(): b""}
    waiting = set(said)
    while waiting:
        ready = select.select(list(waiting), [], [], max(0.0, end - time.monotonic()))[0]
        if not ready:
            raise TimeoutError(f"not ended within {timeout:g} s")
        for fd in ready:
            more = os.read(fd, 1 << 16)
            said[fd] += more
            if not more:
                waiting.discard(fd)
    return process.wait(max(0.0, end - time.monotonic())), b"".join(said.values())
