"""What happened in the life of a connection."""

from testbed.model.life import MomentKind
from testbed.model.statement import Statement


class Connected(Statement):
    """Echoes came back by one path, from ``start`` to ``end``, in seconds after the first event."""

    start: float
    end: float
    relayed: bool
    at: str


class Happened(Statement):
    """One moment, in seconds after the first fault; ``said`` is what else is known of it."""

    kind: MomentKind
    seconds: float
    node: str
    said: str
