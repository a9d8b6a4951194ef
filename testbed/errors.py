"""The errors that a user can meet, and the exit code that each one means.

Every error names the phase it happened in and, where there is one, the node and
the remedy.  Exit codes: 0 all agreed, 1 a result differs from its prediction or
claim, 2 the words of the command are wrong, 3 the harness is at fault
(INCONCLUSIVE), 4 this machine lacks something, 130 interrupted.
"""

from enum import IntEnum


class Exit(IntEnum):
    """What the process's exit code says."""

    AGREED = 0
    DIFFERS = 1
    USAGE = 2
    INCONCLUSIVE = 3
    UNFIT = 4
    INTERRUPTED = 130


class TestbedError(Exception):
    """Base of every error that is shown to a user without a traceback."""

    __test__ = False  # pytest collects Test*
    phase = "testbed"
    exit_code = Exit.INCONCLUSIVE
    crowded = False  # whether this machine had too little room, so that another try may do

    def __init__(self, message: str, *, node: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.node = node
        self.remedy = remedy

    def __str__(self) -> str:
        where = f"{self.phase} [{self.node}]" if self.node else self.phase
        tail = f"\n  remedy: {self.remedy}" if self.remedy else ""
        return f"{where}: {self.message}{tail}"


class TopologyError(TestbedError):
    """The topology contradicts itself: unknown network, duplicate name, ..."""

    phase = "topology"
    exit_code = Exit.USAGE


class ProfileError(TestbedError):
    """A NAT profile is malformed, unknown, or cannot be expressed."""

    phase = "profile"
    exit_code = Exit.USAGE


class UsageError(TestbedError):
    """The words of a command select nothing or contradict each other."""

    phase = "usage"
    exit_code = Exit.USAGE


class UnfitError(TestbedError):
    """This machine lacks a tool, a kernel feature or a permission."""

    phase = "machine"
    exit_code = Exit.UNFIT


class BackendError(TestbedError):
    """The lab could not be built or driven."""

    phase = "lab"


class ServiceError(BackendError):
    """A program that the lab provides did not get ready, died, was stopped, or fell silent.

    ``ending`` is a word of `testbed.model.fault.Ending`, ``why`` is what it said, if anything.
    """

    def __init__(
        self, service: str, ending: str, *, node: str, why: str = "", remedy: str | None = None
    ) -> None:
        words = f": {why}" if why else ""
        super().__init__(
            f"{service} failed before its end: it {ending}{words}", node=node, remedy=remedy
        )
        self.service = service
        self.ending = ending
        self.why = why


class StarvedServiceError(BackendError):
    """A program that the lab provides was not ready in time, as this machine had none for it."""

    crowded = True


class ChangedError(BackendError):
    """Somebody who is not the lab changed a router of it while peers were at work."""


class CaptureError(TestbedError):
    """The recording is incomplete: disk full, writer gone."""

    phase = "capture"


class LossError(CaptureError):
    """The kernel had no room for packets that were to be recorded."""

    crowded = True


class PeerError(TestbedError):
    """A peer process broke its contract, died, or missed a deadline."""

    phase = "peer"


class ContractError(PeerError):
    """A line that the contract does not allow, whatever the machine and the network do."""


class StarvedError(PeerError):
    """A peer missed a deadline while this machine gave it no processor."""

    crowded = True


class ProbeError(TestbedError):
    """The prober could not measure: its own control exchange failed."""

    phase = "probe"


class BusyError(ProbeError):
    """This machine was too busy to measure in time."""

    crowded = True
