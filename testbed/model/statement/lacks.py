"""Evidence that is not there, and that it would take to know more."""

from testbed.model.packet import Endpoint
from testbed.model.refusal import Refusal
from testbed.model.statement import Statement


class NotRecorded(Statement):
    """The packets were not recorded at all."""


class Empty(Statement):
    """The capture holds no packet."""


class Gaps(Statement):
    """Packets are missing in the numbers of the capture."""

    missing: int
    last: int


class Blind(Statement):
    """Nothing was recorded at a vantage point."""

    vantage: str


class DropCounters(Statement):
    """The drop counters of a router were not read."""

    router: str


class RulesTold(Statement):
    """The drop counters of a router would tell two of its rules apart."""

    router: str


class CountsFewer(Statement):
    """A router counts fewer drops than packets vanish there."""

    router: str


class Conntrack(Statement):
    """The events of a router's conntrack were not recorded."""

    router: str


class Events(Statement):
    """What the peers said was not recorded."""

    signalled: bool = False  # the addresses in them are what is asked for


class AfterVantage(Statement):
    """What became of packets after they were last seen."""

    vantage: str


class Became(Statement):
    """Where on the way one endpoint became another."""

    told: Endpoint
    source: Endpoint


class LearnedBy(Statement):
    """The packet by which a peer learned an endpoint."""

    node: str
    told: Endpoint


class ReasonFor(Statement):
    """The profile of a router declares nothing that gives reason for a rule."""

    rule: Refusal
    router: str


class ConnectionPackets(Statement):
    """The packets of the connection."""


class NatPackets(Statement):
    """The packets of the NAT that brought it there."""


class HowIn(Statement):
    """How a packet came in."""


class Explainer(Statement):
    """An explainer that reads the cell."""
