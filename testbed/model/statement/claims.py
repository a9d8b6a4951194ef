"""What peers claim, and how the wire denies it; protocols that were not kept."""

from testbed.model.breach import Breach, cited
from testbed.model.frozen import FrozenValue
from testbed.model.outcome import Outcome
from testbed.model.packet import Endpoint
from testbed.model.path import Traffic
from testbed.model.reason import Reason
from testbed.model.statement import Statement
from testbed.model.trace import TraceStep


class Found(Statement):
    """Breaches that the judge found, and of which no more is known."""

    breaches: tuple[Breach, ...]

    @property
    def names(self) -> frozenset[int]:
        """The packets that the breaches cite."""
        return frozenset(number for breach in self.breaches for number in cited(breach))


class NotKept(Found):
    """The breaches are the cause."""


class NotAllowed(Statement):
    """The packets beside it are what the protocol does not allow."""


class Claims(Statement):
    """What a peer says of its connection; `Outcome.NONE`: that it has none."""

    node: str
    outcome: Outcome


class Denied(Statement):
    """The wire shows another path than a peer claims."""

    claim: Claims
    measured: Outcome


class ClaimBut(Statement):
    """A claim, and what does not fit it."""

    claim: Claims
    but: Statement


class NothingCame(Statement):
    """Nothing of one peer came to the other, and why."""

    source: str
    target: str
    obstacle: Statement


class BytesLeft(Statement):
    """A peer sent bytes of the connection, or of the echo."""

    node: str
    traffic: Traffic
    destination: Endpoint


class BytesCame(Statement):
    """Bytes of the connection, or of the echo, came to a peer."""

    traffic: Traffic
    node: str
    source: Endpoint


class EchoUnsent(Statement):
    """A peer sent no byte of the echo that it was asked for."""

    node: str


class EchoUnseen(Statement):
    """No byte of a peer's echo came to the other."""

    source: str
    target: str


class EchoShort(Statement):
    """Too few bytes of the echo came."""

    size: int
    came: int
    target: str


class Foretold(FrozenValue):
    """The outcome of the whole prediction, and why it ends so."""

    outcome: Outcome
    reason: Reason


class RefutedBy(Statement):
    """A step of the prediction, or all of it, beside what the wire shows."""

    predicted: TraceStep | Foretold
    shown: Statement


class LeftBy(Statement):
    """By which endpoint a peer left its router, against what the prediction says."""

    node: str
    router: str
    signalled: bool
    external: Endpoint
