"""When the bytes passed that decide a verdict."""

from dataclasses import dataclass

# Shorter payloads (acknowledgements, keepalives, probes) recur and prove nothing.
SHORTEST = 200  # bytes


@dataclass(frozen=True)
class Window:
    """The echo: capture times in ns between which it happened, and its size in bytes.

    Where the peers did not echo but did what they liked, ``size`` is what a connection
    takes at least; payloads of fewer than ``shortest`` bytes prove nothing; and each
    peer may have exchanged ``overhead`` bytes with a relay for its own ends.
    """

    start_ns: int
    end_ns: int
    size: int
    shortest: int = SHORTEST
    overhead: int = 0
