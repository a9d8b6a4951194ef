"""What the pairs of a swarm do, and what is claimed of relaying."""

from enum import StrEnum

from testbed.model.frozen import FrozenValue


class Workload(StrEnum):
    """What each pair does once it is known how it is connected, all pairs at once."""

    TRANSFER = "transfer"  # one large echo
    REQUESTS = "requests"  # many small ones, each when the one before is answered


class ClaimKind(StrEnum):
    """What is said against relaying everything."""

    BANDWIDTH = "bandwidth"  # it costs the relays'
    LATENCY = "latency"  # it adds some
    INCENTIVE = "incentive"  # nobody has one to relay
    LIMITS = "limits"  # those of relays end what is not upgraded


class Claim(FrozenValue):
    """A claim held against the largest swarms of one population and stack.

    ``relayed`` is what it is about where all is relayed, ``upgraded`` where pairs upgrade: MB
    (10^6 bytes) through all relays, or ms of a round trip, the median of the same ``pairs``, which
    went direct.  Whether somebody has an incentive no packet says: of that claim it is what relays
    give and nobody pays for, kB for each peer, and ``cpu_ms`` their processors' time for it, where
    that is known.  Of limits it is how many of ``pairs`` did not get their work done.
    """

    kind: ClaimKind
    population: str
    stack: str
    peers: int
    pairs: int
    relayed: float
    upgraded: float
    cpu_ms: tuple[float, float] | None = None

    @property
    def factor(self) -> float | None:
        """None where there may be nothing left with upgrades."""
        return None if self.kind is ClaimKind.LIMITS else self.relayed / self.upgraded

    @property
    def holds(self) -> bool | None:
        """None where packets cannot tell."""
        return None if self.kind is ClaimKind.INCENTIVE else self.relayed > self.upgraded
