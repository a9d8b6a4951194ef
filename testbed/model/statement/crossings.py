"""What became of packets that hosts sent to one another, whatever the study."""

from testbed.model.packet import Endpoint
from testbed.model.statement import Statement, Stop


class Reached(Statement):
    """Packets came as far as the host that they were for."""

    node: str
    destination: Endpoint
    protocol: str
    target: str
    count: int


class Stopped(Statement):
    """Packets ended before they came to a host."""

    node: str
    destination: Endpoint
    protocol: str
    router: str
    stop: Stop
    count: int


class CaseTold(Statement):
    """What the study itself says of its case."""

    reason: str


class NothingCrossed(Statement):
    """No packet was recorded that would tell."""
