"""A lab that is up in the helper's sandbox, as a test holds it."""

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from testbed.errors import BackendError
from testbed.model.plan import Plan
from testbed.pytest_plugin.channel import from_memory, in_memory
from testbed.pytest_plugin.helper import Helper

STARTING = 120.0  # seconds: an engine starts containers one after another
ANSWERING = 30.0  # seconds for what does not wait for anything


class NodeProcess:
    """A program in a node; `testbed.model.lab.Process`.  ``pid`` is the sandbox's."""

    def __init__(self, helper: Helper, number: int, pid: int, pipes: Sequence[int]) -> None:
        self.pid = pid
        self._helper = helper
        self._number = number
        self.stdin: IO[bytes] = os.fdopen(pipes[0], "wb", 0)
        self.stdout: IO[bytes] = os.fdopen(pipes[1], "rb", 0)
        self.stderr: IO[bytes] = os.fdopen(pipes[2], "rb", 0)

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        code: int | None = self._ask("poll", ANSWERING)
        return code

    def wait(self, timeout: float) -> int:
        """The exit code; TimeoutError after ``timeout`` seconds."""
        code: int = self._ask("wait", timeout + ANSWERING, timeout=timeout)
        return code

    def kill(self) -> None:
        """End it now; no error if it has ended."""
        self._ask("kill", ANSWERING)

    def close_pipes(self) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            pipe.close()

    def _ask(self, do: str, deadline: float, **arguments: Any) -> Any:
        return self._helper.ask(do, deadline, process=self._number, **arguments)[0]


class Lab:
    """A lab that is up, closed to the outside, its NATs certified, every packet recorded.

    A context manager; it also ends with its test.  Then ``capture`` is the pcapng file.
    """

    def __init__(self, helper: Helper, plan: Plan, capture: Path) -> None:
        self.plan = plan
        self.capture = capture
        self._helper = helper
        self._processes: list[NodeProcess] = []

    def __enter__(self) -> "Lab":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def address(self, node: str) -> str:
        """The first address of ``node``; of a router, its outer one."""
        return str(self.plan.address(node))

    def run(
        self, node: str, command: Sequence[str], *, input: bytes = b"", timeout: float = 10.0
    ) -> bytes:
        """Run a program in ``node`` to its end, give its output; BackendError if it fails."""
        memory = in_memory(input)
        try:
            _, fds = self._helper.ask(
                "run",
                timeout + ANSWERING,
                [memory],
                node=node,
                command=list(command),
                timeout=timeout,
            )
        finally:
            os.close(memory)
        return from_memory(fds[0])

    def spawn(self, node: str, command: Sequence[str]) -> NodeProcess:
        """Start a program in ``node``; it is killed with the lab."""
        (number, pid), pipes = self._helper.ask(
            "spawn", ANSWERING, node=node, command=list(command)
        )
        process = NodeProcess(self._helper, number, pid, pipes)
        self._processes.append(process)
        return process

    def socket(
        self, node: str, family: int = socket.AF_INET, kind: int = socket.SOCK_DGRAM, proto: int = 0
    ) -> socket.socket:
        """A socket of ``node``'s network, used from here; yours to close."""
        _, fds = self._helper.ask(
            "socket", ANSWERING, node=node, family=int(family), kind=int(kind), proto=proto
        )
        return socket.socket(fileno=fds[0])

    def close(self) -> None:
        """Take it down; BackendError if it lost a packet that no plan asked it to lose."""
        if self._helper.ended:
            return
        try:
            lost, _ = self._helper.ask("close", STARTING)
            if lost:
                raise BackendError(f"the lab is no witness: {'; '.join(lost)}")
        finally:
            self._helper.close()
            for process in self._processes:
                process.close_pipes()
