"""When the bytes passed that decide a verdict."""

from testbed.model.frozen import FrozenValue

# Shorter payloads (acknowledgements, keepalives, probes) recur and prove nothing.
SHORTEST = 200  # bytes


class Window(FrozenValue):
    """The echo: capture times in ns between which it happened, and its size in bytes.

    Where the peers did not echo but did what they liked, ``size`` is what a connection
    takes at least; payloads of fewer than ``shortest`` bytes prove nothing; and each
    peer may have exchanged ``overhead`` bytes with a relay for its own ends.

    ``nonce``: hexadecimal, of an echo that is sent in the clear; what does not hold it proves
    nothing.  Empty: the dialer was told none, or what it sends cannot be read.
    """

    start_ns: int
    end_ns: int
    size: int
    shortest: int = SHORTEST
    overhead: int = 0
    nonce: str = ""
