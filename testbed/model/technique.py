"""How two peers try to reach each other, as far as their packets show it."""

from dataclasses import dataclass
from enum import StrEnum

from testbed.model.packet import Protocol


class Relaying(StrEnum):
    """What carries a connection for which there is no direct path."""

    TURN = "turn"  # RFC 8656
    CIRCUIT = "circuit"  # libp2p's relay, version 2


@dataclass(frozen=True, kw_only=True)
class Technique:
    """One way of trying.  A mechanism has one for each mode that it can be run in."""

    name: str
    protocol: Protocol | None  # of the connection that the peers want; None: they want none
    relaying: Relaying | None = None  # what the peers may fall back on
