"""A router's port-mapping program, which can end and begin again, whichever it is."""

import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Self

from testbed.errors import BackendError
from testbed.model.lab import Command, Lab, Process
from testbed.model.plan import ServePortMapping

PORT = 5351  # of NAT-PMP and PCP
DEADLINE = 10.0  # seconds until it answers, or has ended
POLL_INTERVAL = 0.002  # seconds
ANSWER_TIMEOUT = 0.1  # seconds, within one node
DESCRIPTION = b"GET /rootDesc.xml HTTP/1.0\r\n\r\n"
ADDRESS = bytes(2)  # NAT-PMP: version 0, opcode 0, what is the external address?

Question = tuple[str, socket.SocketKind, int, bytes, bytes]


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
        """Of each service: its name, where to ask, what, and how the answer begins."""

    def start(self) -> Self:
        """Without any mapping and with an epoch of 0, as after a reboot of the router.

        Ready when each service has answered, asked from the router itself so that no
        capture of the lab's links sees it; BackendError if one does not in time.
        """
        self.forget()
        lab, node = self._lab, self._step.node
        process = self._process = lab.spawn(node, self._command())
        process.stdin.write(self._step.config.encode())
        process.stdin.close()
        end = time.monotonic() + DEADLINE
        for service, kind, port, request, answer in self._questions():
            while not self._ask(kind, port, request, answer):
                if process.poll() is not None or time.monotonic() >= end:
                    raise BackendError(
                        f"{self.name} does not answer to {service}", node=node, remedy=self.remedy
                    )
                time.sleep(POLL_INTERVAL)
        return self

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

    def _ask(self, kind: socket.SocketKind, port: int, request: bytes, answer: bytes) -> bool:
        """Whether an answer begins as it should.  Nothing announces a port that opens."""
        node = self._step.node
        address = str(self._lab.plan.internal[node])
        with self._lab.socket(node, socket.AF_INET, kind) as sock:
            sock.settimeout(ANSWER_TIMEOUT)
            try:
                sock.connect((address, port))
                sock.sendall(request)
                return sock.recv(2048).startswith(answer)
            except OSError:  # refused, or a timeout
                return False
