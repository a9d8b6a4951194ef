"""What others see of us: observed addresses, the mapping behaviour they reveal, what to advertise.

An observation counts once per observer group: an IPv4 address or an IPv6 /56, so that
one machine cannot vouch for an address by itself.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum

from .multiaddr import Multiaddr

ACTIVATION_THRESHOLD = 4
PUNCH_THRESHOLD = 1
MAX_OBSERVATIONS = 512
MAX_ADVERTISED = 3


class Mapping(StrEnum):
    """What the NAT does with one socket's mapping (RFC 4787 section 4.1)."""

    UNKNOWN = "unknown"
    NONE = "none"
    ENDPOINT_INDEPENDENT = "endpoint_independent"
    ENDPOINT_DEPENDENT = "endpoint_dependent"


@dataclass(frozen=True)
class Observation:
    """`observer` (its socket address) saw our `local` listening address as `observed`.

    `outbound` says whether we opened the connection: only then did the NAT choose
    the mapping for this destination.
    """

    local: Multiaddr
    observed: Multiaddr
    observer: Multiaddr
    outbound: bool


@dataclass
class ObservedAddresses:
    """Counts observers while their connections live.  One instance a node."""

    activation_threshold: int = ACTIVATION_THRESHOLD
    punch_threshold: int = PUNCH_THRESHOLD
    _seen: dict[object, Observation] = field(default_factory=dict)

    def add(self, connection: object, observation: Observation) -> bool:
        """Record what a connection's other end sees; False when it is worthless.

        Worthless: relayed, of another transport or family, a loopback or unspecified
        address, or beyond `MAX_OBSERVATIONS`.
        """
        seen, local = observation.observed, observation.local
        ip = seen.ip
        if seen.is_relayed or ip is None or local.ip is None or seen.transport != local.transport:
            return False
        if ip.version != local.ip.version or ip.is_unspecified or ip.is_loopback:
            return False
        if connection not in self._seen and len(self._seen) >= MAX_OBSERVATIONS:
            return False
        self._seen[connection] = observation
        return True

    def remove(self, connection: object) -> None:
        """The connection is gone; what it said no longer counts."""
        self._seen.pop(connection, None)

    def retain(self, locals_: Collection[Multiaddr]) -> None:
        """Only these local addresses are ours still: what was seen of others says nothing."""
        self._seen = {c: o for c, o in self._seen.items() if o.local in locals_}

    def addresses(self, threshold: int) -> tuple[Multiaddr, ...]:
        """Observed addresses with at least `threshold` observer groups, best first.

        At most three a local address: a NAT that maps per destination would otherwise
        fill the list with ports that lead nowhere.
        """
        ranked: dict[Multiaddr, list[tuple[int, Multiaddr]]] = defaultdict(list)
        for (local, observed), groups in self._groups().items():
            if len(groups) >= threshold:
                ranked[local].append((len(groups), observed))
        return tuple(
            observed
            for items in ranked.values()
            for _, observed in sorted(items, key=lambda i: (-i[0], str(i[1])))[:MAX_ADVERTISED]
        )

    @property
    def advertised(self) -> tuple[Multiaddr, ...]:
        """What enough observers agree on to tell the world."""
        return self.addresses(self.activation_threshold)

    @property
    def punchable(self) -> tuple[Multiaddr, ...]:
        """What is good enough for CONNECT of DCUtR."""
        return self.addresses(self.punch_threshold)

    def mapping(self, transport: str) -> Mapping:
        """The mapping behaviour that our own outbound connections reveal.

        NONE when the observed address is the local one.  Dependent as soon as two
        observers differ for one socket; independent when `activation_threshold`
        distinct observers agree.
        """
        verdicts = {
            self._classify(local)
            for local in {o.local for o in self._seen.values() if o.local.transport == transport}
        } - {Mapping.UNKNOWN}
        if Mapping.ENDPOINT_DEPENDENT in verdicts:
            return Mapping.ENDPOINT_DEPENDENT
        return next(iter(verdicts)) if len(verdicts) == 1 else Mapping.UNKNOWN

    def _classify(self, local: Multiaddr) -> Mapping:
        outbound = [o for o in self._seen.values() if o.local == local and o.outbound]
        mapped = {o.observed for o in outbound}
        if len(mapped) > 1:
            return Mapping.ENDPOINT_DEPENDENT
        if mapped == {local}:
            return Mapping.NONE
        groups = {o.observer.party for o in outbound if o.observer.ip}
        enough = len(groups) >= self.activation_threshold
        return Mapping.ENDPOINT_INDEPENDENT if enough else Mapping.UNKNOWN

    def _groups(self) -> dict[tuple[Multiaddr, Multiaddr], set[str]]:
        groups: dict[tuple[Multiaddr, Multiaddr], set[str]] = defaultdict(set)
        for o in self._seen.values():
            if o.observer.ip is not None:
                groups[o.local, o.observed].add(o.observer.party)
        return groups
