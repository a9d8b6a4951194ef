"""What a node holds at a moment: for a metric, or a page of an operator."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Resources:
    """Counts, and bytes.

    `handshakes` are inbound ones under way.  `received` bytes wait for readers of ours, `written`
    ones for the remote; their limits are `HostLimits.memory` and `HostLimits.sending`.
    `reservations` and `circuits` are those of our relay; `held` are reservations that others
    hold for us.
    """

    connections: int
    relayed: int
    streams: int
    handshakes: int
    received: int
    written: int
    known_peers: int
    held: int
    reservations: int
    circuits: int
