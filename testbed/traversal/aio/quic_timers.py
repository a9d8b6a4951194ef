"""The times of QUIC connections, for those who do not need the engine."""

from dataclasses import dataclass


@dataclass(frozen=True)
class QuicTimers:
    """Seconds: of silence, after which a connection is over; between two PINGs."""

    idle_timeout: float = 30.0
    keepalive: float = 10.0
