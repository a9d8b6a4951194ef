"""How two peers end up connected, and what a peer tells of the way there."""

from enum import StrEnum

from testbed.model.frozen import FrozenValue
from testbed.model.rent import Carriage


class Outcome(StrEnum):
    """How two peers end up connected."""

    DIRECT = "direct"
    RELAYED = "relayed"
    NONE = "none"


class Rung(StrEnum):
    """What carries the connection in the end."""

    DIRECT = "direct"
    REVERSED = "reversed"
    PUNCHED = "punched"
    RELAYED = "relayed"
    RENTED = "rented"  # by a relay that is paid


class RungReading(FrozenValue):
    """How a cell's ladder was climbed.  Times are ms from the dial, as the dialer tells.

    ``mapped`` is the port-mapping service whose mapping was dialed, None where none was.
    ``paid`` are the circuits that the dialer paid for.
    """

    predicted: Rung | None
    measured: Rung | None
    mapped: str | None
    first_byte_ms: float | None
    final_ms: float | None
    paid: tuple[Carriage, ...] = ()


class StepName(StrEnum):
    """What a peer sees of DCUtR (libp2p relay/DCUtR.md)."""

    CONNECT_SENT = "connect_sent"
    CONNECT_RECEIVED = "connect_received"
    SYNC_SENT = "sync_sent"
    SYNC_RECEIVED = "sync_received"
    PUNCHING = "punching"  # dials, or sends, towards the other side
    FAILED = "failed"  # this attempt
    RELAY_LEFT = "relay_left"  # the relayed connection is closed
