"""Runs that broke, peers that sent nothing, and connections that came to nothing."""

from testbed.model.breach import TriedLittle
from testbed.model.fault import Fault
from testbed.model.packet import Endpoint
from testbed.model.statement import Statement


class HarnessBroke(Statement):
    """Faults of the harness."""

    faults: tuple[Fault, ...]


class PeerBroke(Statement):
    """What a peer, or the harness for it, said when it failed."""

    node: str | None
    message: str


class SentNothing(Statement):
    """A peer sent nothing, and should have."""

    node: str


class GaveUpEarly(Statement):
    """A peer did not do its part of an attempt that came to nothing."""

    breach: TriedLittle


class ExplainerFailed(Statement):
    """The explainer itself failed; ``kept``: the file that has its traceback, if any has."""

    error: str
    message: str
    kept: str = ""


class AsFarAs(Statement):
    """A cause that was found though the harness was at fault."""

    what: Statement


class NoPackets(Statement):
    """Without packets there is nothing to go by."""


class CameTo(Statement):
    """Packets came to the other peer."""

    node: str
    target: str
    first_ms: float


class SentThoughOff(Statement):
    """A peer sent, though punching is off."""

    node: str
    destination: Endpoint


class StillnessUnseen(Statement):
    """Whether a peer kept still is not to be seen."""

    node: str


class SameRole(Statement):
    """A peer answered a check with STUN's error for a conflict of roles."""

    node: str
    code: str | None


class NothingCameOfIt(Statement):
    """Packets passed both ways; ``reasons`` in the peers' own words."""

    reasons: tuple[tuple[str, str], ...]


class NotAnswer(Statement):
    """What comes to a peer is from elsewhere than where it sends to."""

    node: str
    targets: tuple[Endpoint, ...]
    source: Endpoint


class CameFrom(Statement):
    """Where a peer's packet came from."""

    node: str
    source: Endpoint


class AnsweredTo(Statement):
    """A peer answered, and where that came to."""

    node: str
    source: Endpoint
    target: str


# -- peers that made no try -------------------------------------------------------


class NoneInCapture(Statement):
    """No packet from a peer to the other is in the capture."""

    node: str


class SentNone(Statement):
    """A peer sent nothing towards the other."""

    node: str


class OnlyAnswers(Statement):
    """A peer only answers, and nothing came to it."""

    node: str


class PunchingOff(Statement):
    """The control: nobody was to try."""

    dialer: str
    listener: str


class GaveUp(Statement):
    """A peer gave up before it sent anything; ``reason`` in its own words."""

    node: str
    reason: str


class NeverOffered(Statement):
    """A peer never said by which address it is reached."""

    node: str


class Idle(Statement):
    """A peer sent nothing, though the other's addresses were signalled."""

    node: str
    other: str
    told: tuple[Endpoint, ...]


class DialsApart(Statement):
    """A peer dials from other ports than the one it listens on."""

    node: str
    port: int
    ports: int
