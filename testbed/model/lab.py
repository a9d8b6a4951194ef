"""What every backend gives: labs that are context managers.

The contract is small on purpose.  Whatever a lab starts ends with it, also when
the testbed is killed: a backend ties processes and networks to its own life.
"""

import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import IO, Protocol

from testbed.model.address import Route as Route
from testbed.model.address import Rule as Rule
from testbed.model.fault import FramesLost, ServiceFailed
from testbed.model.frozen import FrozenValue
from testbed.model.plan import Plan


class Capability(StrEnum):
    """What a program may be given of the powers that capabilities(7) lists."""

    NET_BIND_SERVICE = "NET_BIND_SERVICE"  # to listen at ports below 1024
    NET_ADMIN = "NET_ADMIN"  # to configure its node's network, and to have tunnels (/dev/net/tun)
    NET_RAW = "NET_RAW"  # raw and packet sockets


class Image(FrozenValue):
    """A program that comes as a container image, and starts by the image's own entry point."""

    reference: str  # as the engine knows it
    environment: tuple[tuple[str, str], ...] = ()
    capabilities: tuple[str, ...] = ()  # over its own node, besides an engine's usual ones


# What every confined program sees: the folders of the system's programs and libraries.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")


class Confinement(FrozenValue):
    """What a program of strangers is kept within.

    It has namespaces of its own, no privileges, limits, and folders of its own that end with it;
    of the machine it sees the system's programs and libraries, and what is named here.
    """

    reads: tuple[Path, ...] = ()  # files and folders, at their places; they cannot be changed
    capabilities: tuple[Capability, ...] = ()  # over its own node
    environment: tuple[tuple[str, str], ...] = ()  # besides what everybody has


Command = Sequence[str] | Callable[[], int] | Image


class Process(Protocol):
    """A process inside a node, with pipes for its standard streams.

    What it started in its process group ends with it.
    """

    pid: int
    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]
    killed: bool  # by `kill`: its end is wanted

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""

    def halted(self) -> bool:
        """Whether a signal has stopped it since it began, even if it goes on by now.

        False where that cannot be known: of a process in a container.
        """

    def wait(self, timeout: float) -> int:
        """The exit code; TimeoutError after ``timeout`` seconds."""

    def waited_ns(self) -> int | None:
        """How long it was ready to run and had no processor, at most; None: nobody knows.

        In ns, since an instant that stays the same: two of them have a difference.
        """

    def kill(self) -> None:
        """End it now; no error if it has ended."""


class Pausable(Process, Protocol):
    """A process that can be made to stand still."""

    def pause(self) -> None:
        """Let it and its group stand still; its clock goes on."""

    def resume(self) -> None:
        """Let them go on."""


class Lab(Protocol):
    """A started lab."""

    plan: Plan
    failed: list[ServiceFailed]  # of programs that were watched, and have ended

    def socket(self, node: str, family: int, kind: int, proto: int = 0) -> socket.socket:
        """A socket made inside ``node``, usable from here."""

    def spawn(self, node: str, command: Command, confinement: Confinement | None = None) -> Process:
        """Start a program, or a Python function in a fork, inside ``node``.

        Within ``confinement``, if there is one; else with all rights over the lab, as the
        harness's own programs.  An image is a UsageError where nodes are no containers.  A
        function finds its pipes as file descriptors 0, 1 and 2; its result is the exit code.
        The process sees the node's network, hosts file and sysfs.
        """

    def run(
        self, node: str, command: Sequence[str], *, input: bytes = b"", timeout: float = 10.0
    ) -> bytes:
        """Run a program to its end and give its output; BackendError if it fails."""

    def lost_frames(self) -> list[FramesLost]:
        """Frames that the lab lost by itself, where no plan asked for it."""

    def sysctls(self, node: str, keys: Sequence[str]) -> dict[str, str]:
        """The values of ``keys`` in ``node``, but for those that its kernel does not have."""

    def strangers(self, node: str) -> list[str]:
        """The processes in the network of ``node`` that the lab did not start, by name and number.

        In a lab of containers those are the engine's, and nobody is told.
        """

    def failed_services(self) -> list[ServiceFailed]:
        """Programs that the lab provides, and that did not serve until now or their end."""

    def lateness_ms(self) -> float:
        """By how much the most delayed frame was late, beyond its link's delay."""

    def interfaces(self, node: str) -> set[str]:
        """The names of all interfaces that really are in ``node``."""

    def routes(self, node: str) -> set[Route]:
        """The routes that really are in ``node``, of all tables but its own addresses'."""

    def rules(self, node: str) -> set[Rule]:
        """Its routing policy, but for the rules that every node has."""


class Backend(Protocol):
    """Builds labs from plans."""

    name: str

    def start(self, plan: Plan) -> AbstractContextManager[Lab]:
        """Bring the lab up, ready to use; leaving the context takes it away."""
