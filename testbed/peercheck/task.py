"""What is checked, as what, and how long it may take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from testbed.model.contract import Transport
from testbed.peercheck.partner import Partner
from testbed.stacks.client import EXIT_DEADLINE
from testbed.studies.punch.mechanism import Deadlines


@dataclass(frozen=True)
class Patience:
    """How long each answer may take, in seconds: the harness's own deadlines."""

    gathering: float = Deadlines.gathering
    connecting: float = Deadlines.connecting
    upgrading: float = Deadlines.upgrading
    echoing: float = Deadlines.echoing
    closing: float = Deadlines.closing
    exiting: float = EXIT_DEADLINE


@dataclass(frozen=True)
class Task:
    """``argv`` is a program that says that it is a peer of ``mechanism``."""

    argv: Sequence[str]
    mechanism: str
    transport: Transport
    partner: Callable[[], Partner]
    patience: Patience = Patience()

    @property
    def punches(self) -> bool:
        """By no more than STUN and frames."""
        return self.mechanism.startswith("punch_")

    @property
    def libp2p(self) -> bool:
        return self.mechanism.startswith("dcutr_")
