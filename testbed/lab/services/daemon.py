"""A router's port-mapping program, which can end and begin again, whichever it is."""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Self

from testbed.lab.services.watch import Beginning, Question, failure
from testbed.model.fault import ServiceFailed
from testbed.model.lab import Command, Lab, Process
from testbed.model.plan import ServePortMapping

PORT = 5351  # of NAT-PMP and PCP
DEADLINE = 10.0  # seconds until it answers, or has ended
POLL_INTERVAL = 0.002  # seconds
DESCRIPTION = b"GET /rootDesc.xml HTTP/1.0\r\n\r\n"
ADDRESS = bytes(2)  # NAT-PMP: version 0, opcode 0, what is the external address?


class Daemon(ABC):
    """One router's; ``remedy`` is what to look at when it does not serve."""

    name: str
    remedy: str

    def __init__(self, lab: Lab, step: ServePortMapping) -> None:
        self._lab = lab
        self._step = step
        self._process: Process | None = None

    @abstractmethod
    def _command(self) -> Command:
        """What serves; it reads the step's configuration from stdin."""

    @abstractmethod
    def _questions(self) -> Iterator[Question]:
        """One of each service, to be put in the router itself."""

    def start(self) -> Self:
        """Without any mapping and with an epoch of 0, as after a reboot of the router.

        Ready when each service has answered, asked from the router itself so that no
        capture of the lab's links sees it; ServiceError if one does not in time, or
        StarvedServiceError.
        """
        self.forget()
        lab, node = self._lab, self._step.node
        process = self._process = lab.spawn(node, self._command())
        beginning = Beginning(node, self.name, process)
        process.stdin.write(self._step.config.encode())
        process.stdin.close()
        end = time.monotonic() + DEADLINE
        for question in self._questions():
            while not question.answered(lab, node):
                if process.poll() is not None or time.monotonic() >= end:
                    why = f"it does not answer to {question.service}"
                    raise beginning.unready(why, self.remedy)
                time.sleep(POLL_INTERVAL)
        return self

    def failure(self) -> ServiceFailed | None:
        """How it failed since it was started; None where nobody wants it to run."""
        if self._process is None:
            return None
        return failure(self._lab, self._step.node, self.name, self._process, self._questions())

    def _inside(self, port: int) -> tuple[str, int]:
        """Where it serves on the LAN."""
        return str(self._lab.plan.internal[self._step.node]), port

    def stop(self) -> None:
        """End it without a word to anybody.  What it has mapped stays mapped."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE)
            self._process = None

    def forget(self) -> None:
        """Take its rules away.  A daemon that runs does not notice."""
        command = ["nft", "-f", "-"]
        self._lab.run(self._step.node, command, input=self._step.chains.encode())

    def restart(self) -> None:
        """As a reboot does: mappings are forgotten, the epoch begins anew.

        A client may hear the daemon's announcement, and have mapped again, before this
        returns: who wants to see nothing mapped must `stop`, `forget` and look.
        """
        self.stop()
        self.start()

    def mappings(self) -> str:
        """Its chains with the rules of its mappings, as nft prints them."""
        command = ["nft", "list", "table", "inet", "portmap"]
        return self._lab.run(self._step.node, command).decode()
