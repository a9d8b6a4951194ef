"""Evidence that is not there, and that it would take to know more."""

from dataclasses import dataclass

from testbed.model.packet import Endpoint
from testbed.model.refusal import Refusal
from testbed.model.statement import Statement


@dataclass(frozen=True)
class NotRecorded(Statement):
    """The packets were not recorded at all."""


@dataclass(frozen=True)
class Empty(Statement):
    """The capture holds no packet."""


@dataclass(frozen=True)
class Gaps(Statement):
    """Packets are missing in the numbers of the capture."""

    missing: int
    last: int


@dataclass(frozen=True)
class Blind(Statement):
    """Nothing was recorded at a vantage point."""

    vantage: str


@dataclass(frozen=True)
class DropCounters(Statement):
    """The drop counters of a router were not read."""

    router: str


@dataclass(frozen=True)
class RulesTold(Statement):
    """The drop counters of a router would tell two of its rules apart."""

    router: str


@dataclass(frozen=True)
class CountsFewer(Statement):
    """A router counts fewer drops than packets vanish there."""

    router: str


@dataclass(frozen=True)
class Conntrack(Statement):
    """The events of a router's conntrack were not recorded."""

    router: str


@dataclass(frozen=True)
class Events(Statement):
    """What the peers said was not recorded."""

    signalled: bool = False  # the addresses in them are what is asked for


@dataclass(frozen=True)
class AfterVantage(Statement):
    """What became of packets after they were last seen."""

    vantage: str


@dataclass(frozen=True)
class Became(Statement):
    """Where on the way one endpoint became another."""

    told: Endpoint
    source: Endpoint


@dataclass(frozen=True)
class LearnedBy(Statement):
    """The packet by which a peer learned an endpoint."""

    node: str
    told: Endpoint


@dataclass(frozen=True)
class ReasonFor(Statement):
    """The profile of a router declares nothing that gives reason for a rule."""

    rule: Refusal
    router: str


@dataclass(frozen=True)
class ConnectionPackets(Statement):
    """The packets of the connection."""


@dataclass(frozen=True)
class NatPackets(Statement):
    """The packets of the NAT that brought it there."""


@dataclass(frozen=True)
class HowIn(Statement):
    """How a packet came in."""


@dataclass(frozen=True)
class Explainer(Statement):
    """An explainer that reads the cell."""
