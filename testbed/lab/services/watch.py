"""Programs that a lab provides are watched to their end: coturn, relays, observers, gateways.

Whoever they fail cannot be blamed for it.  A program that has died, that somebody stopped
for a while, or that answers no more, is a fault of the harness.
"""

import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from testbed.errors import BackendError, ServiceError, StarvedServiceError
from testbed.lab.waits import ProcessorTime
from testbed.model.fault import Ending, ServiceFailed
from testbed.model.frozen import FrozenValue
from testbed.model.lab import Lab, Process

ANSWER_TIMEOUT = 0.1  # seconds, within one node
PATIENCE = 2.0  # seconds for an answer at the end: a machine may be busy


class Watching(Protocol):
    """What of a lab is needed to watch its programs."""

    failed: list[ServiceFailed]

    def socket(self, node: str, family: int, kind: int, proto: int = 0) -> socket.socket:
        """As `testbed.model.lab.Lab` has it."""


class Question(FrozenValue):
    """What a service answers when it serves: where it is asked, and how the answer begins.

    It is asked from its own node, by way of the loopback, so that no capture sees it.
    """

    service: str
    kind: socket.SocketKind
    address: tuple[str, int]
    request: bytes
    answer: bytes

    def answered(self, lab: Watching, node: str) -> bool:
        """Whether an answer comes that begins as it should."""
        with lab.socket(node, socket.AF_INET, self.kind) as sock:
            sock.settimeout(ANSWER_TIMEOUT)
            try:
                sock.connect(self.address)
                sock.sendall(self.request)
                return sock.recv(2048).startswith(self.answer)
            except OSError:  # refused, or a timeout
                return False


class Beginning:
    """That of ``name`` at ``node``, whose ``process`` was just started: until it serves."""

    def __init__(self, node: str, name: str, process: Process) -> None:
        self.node, self._name = node, name
        self._processor = ProcessorTime(process)

    def unready(self, why: str = "", remedy: str | None = None) -> BackendError:
        """The error where it does not serve in time: is that the machine's doing, or its own?

        ``why``: what it said, or did not answer.
        """
        if (seconds := self._processor.starved_s()) is None:
            ending = Ending.UNREADY.value
            return ServiceError(self._name, ending, node=self.node, why=why, remedy=remedy)
        return StarvedServiceError(
            f"{self._name} was not ready in time, after {seconds:.1f} s without a processor: this "
            "machine is too busy",
            node=self.node,
        )


@contextmanager
def watched(
    lab: Watching, node: str, name: str, process: Process, questions: Iterable[Question] = ()
) -> Iterator[None]:
    """Note in ``lab.failed``, on leaving, if ``process`` did not serve all the time.

    Leave it before the process is ended.
    """
    try:
        yield
    finally:
        if failed := failure(lab, node, name, process, questions):
            lab.failed.append(failed)


@contextmanager
def served(lab: Lab) -> Iterator[None]:
    """ServiceError if a program of ``lab`` failed until this is left, whatever else went wrong."""
    try:
        yield
    finally:
        if failed := lab.failed_services():
            raise ServiceError(failed[0].service, failed[0].ending.value, node=failed[0].node)


def failure(
    lab: Watching, node: str, name: str, process: Process, questions: Iterable[Question] = ()
) -> ServiceFailed | None:
    """How it failed until now; None if it still serves, and was never stopped."""
    if process.killed:  # a world may ask for its end
        return None
    if process.poll() is not None:
        return ServiceFailed(node, name, Ending.DIED)
    if process.halted():
        return ServiceFailed(node, name, Ending.STOPPED)
    deadline = time.monotonic() + PATIENCE
    for question in questions:
        while not question.answered(lab, node):
            if process.poll() is not None:
                return ServiceFailed(node, name, Ending.DIED)
            if time.monotonic() > deadline:
                return ServiceFailed(node, name, Ending.SILENT)
    return None
