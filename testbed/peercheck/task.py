"""What is checked, as what, and how long it may take."""

from collections.abc import Callable, Sequence

from testbed.model.contract import Transport
from testbed.model.frozen import FrozenValue
from testbed.peercheck.partner import Partner
from testbed.stacks.client import EXIT_DEADLINE
from testbed.studies.punch.mechanism import Deadlines, Mechanism


class Patience(FrozenValue):
    """How long each answer may take, in seconds: the harness's own deadlines."""

    gathering: float = Deadlines.gathering
    connecting: float = Deadlines.connecting
    upgrading: float = Deadlines.upgrading
    echoing: float = Deadlines.echoing
    closing: float = Deadlines.closing
    exiting: float = EXIT_DEADLINE


class Task(FrozenValue):
    """``argv`` is a program that says that it is a peer of ``mechanism``."""

    argv: Sequence[str]
    mechanism: Mechanism
    partner: Callable[[], Partner]
    patience: Patience = Patience()

    @property
    def transport(self) -> Transport:
        """As the contract has it."""
        return Transport(self.mechanism.transport)

    @property
    def punches(self) -> bool:
        """By no more than STUN and frames."""
        return self.mechanism.offers == "addresses"

    @property
    def answers_itself(self) -> bool:
        """It reads each datagram; elsewhere libraries and kernels answer."""
        return self.punches and self.transport is Transport.UDP

    @property
    def ice(self) -> bool:
        """By an ICE agent, which chooses its ports and its checks."""
        return self.mechanism.offers == "ice"

    @property
    def libp2p(self) -> bool:
        """By a relay's circuit first."""
        return self.mechanism.offers == "multiaddrs"
