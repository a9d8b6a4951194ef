"""What a node tells its user: one frozen type per thing that can happen.

`at` is UNIX time in seconds, so that an event can be laid beside a packet capture.
"""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from .autonat_v1 import Reachability
from .errors import DialFailure
from .ladder import Rung
from .multiaddr import Multiaddr
from .observed import Mapping
from .peer_id import PeerId
from .portmap.mapping import Mapping as PortMapping
from .relay import Limit


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events."""

    at: float = field(default_factory=time.time)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the type's name under `event`, addresses and ids as text."""
        return {"event": type(self).__name__} | {k: _plain(v) for k, v in vars(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | frozenset):
        return sorted(map(str, value)) if isinstance(value, frozenset) else [*map(_plain, value)]
    if isinstance(value, Reachability):
        return value.name.lower()
    if isinstance(value, Multiaddr | PeerId):
        return str(value)
    if isinstance(value, PortMapping):
        return value.to_dict()
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value


@dataclass(frozen=True)
class Listening(Event):
    """A socket is open; the address has the real port."""

    address: Multiaddr


@dataclass(frozen=True)
class ConnectionOpened(Event):
    """A connection is secured: `relayed` if through a circuit, which may have a `limit`."""

    peer: PeerId
    remote: Multiaddr
    direction: str
    relayed: bool
    limit: Limit | None = None


@dataclass(frozen=True)
class ConnectionMoved(Event):
    """The other end of a QUIC connection is at another address now (RFC 9000 section 9)."""

    peer: PeerId
    remote: Multiaddr


@dataclass(frozen=True)
class ConnectionClosed(Event):
    """A connection is gone, and with it `undelivered` bytes that were written to it."""

    peer: PeerId
    remote: Multiaddr
    relayed: bool
    reason: str
    undelivered: int = 0


@dataclass(frozen=True)
class Identified(Event):
    """A peer told what it is and how it sees us."""

    peer: PeerId
    agent: str
    protocols: frozenset[str]
    addresses: tuple[Multiaddr, ...]
    observed: Multiaddr | None


@dataclass(frozen=True)
class AddressObserved(Event):
    """`observer` sees our `local` address as `observed`."""

    observed: Multiaddr
    local: Multiaddr
    observer: Multiaddr


@dataclass(frozen=True)
class MappingInferred(Event):
    """What our NAT does, as far as the observers show it."""

    transport: str
    mapping: Mapping


@dataclass(frozen=True)
class AddressesChanged(Event):
    """What we advertise from now on."""

    addresses: tuple[Multiaddr, ...]


@dataclass(frozen=True)
class DialStarted(Event):
    """A dial of the ladder: `step` is `direct`, `reversed` or `relayed`."""

    address: Multiaddr
    step: str


@dataclass(frozen=True)
class DialFailed(Event):
    """That dial did not work."""

    address: Multiaddr
    step: str
    failure: DialFailure
    reason: str


@dataclass(frozen=True)
class Reserved(Event):
    """A relay will take connections for us until `expire` (UNIX seconds)."""

    relay: PeerId
    expire: int
    addresses: tuple[Multiaddr, ...]
    refreshed: bool


@dataclass(frozen=True)
class ReservationLost(Event):
    """It ended; a new one is being sought."""

    relay: PeerId
    reason: str


@dataclass(frozen=True)
class RentSettled(Event):
    """A rented circuit is over: the contract (hex), bytes, what its receipts come to in units.

    `cheat` is what the other side was caught at.  Told by relay and payer.
    """

    relay: PeerId
    payer: PeerId
    target: PeerId
    contract: str
    up: int
    down: int
    cost: int
    cheat: str


@dataclass(frozen=True)
class RentRefused(Event):
    """We are the relay, and give this payer no circuit on credit."""

    payer: PeerId
    reason: str


@dataclass(frozen=True)
class RelayBroke(Event):
    """A relay that we paid broke its word: its circuit is left, and it is paid no more."""

    relay: PeerId
    target: PeerId
    contract: str
    cheat: str
    reason: str


@dataclass(frozen=True)
class ReachabilityChanged(Event):
    """AutoNAT's verdict; `address` is None for version 1, which judges the whole node."""

    verdict: Reachability
    version: int
    address: Multiaddr | None = None


@dataclass(frozen=True)
class PunchStep(Event):
    """DCUtR: `step` is connect_sent, connect_received, sync_sent, sync_received, punching, failed.

    `role` is `initiator` (B, who received the relayed connection) or `responder` (A).
    """

    peer: PeerId
    role: str
    attempt: int
    step: str
    rtt: float | None = None
    addresses: tuple[Multiaddr, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Upgraded(Event):
    """A direct connection replaces the relayed one; `how` is reversed, punched or direct.

    `seconds` since the relayed connection was there; `rtt` of the direct one.
    """

    peer: PeerId
    how: str
    remote: Multiaddr
    seconds: float
    rtt: float


@dataclass(frozen=True)
class UpgradeFailed(Event):
    """All attempts are spent: the connection stays relayed."""

    peer: PeerId
    reason: str


@dataclass(frozen=True)
class RungReached(Event):
    """This rung carries a connection that we dialed, until a better one is told.

    `seconds` from the dial to the first bytes that came back over it.
    """

    peer: PeerId
    rung: Rung
    remote: Multiaddr
    seconds: float


@dataclass(frozen=True)
class PeerLost(Event):
    """The last connection to a peer that is kept is gone; it is being sought."""

    peer: PeerId
    reason: str


@dataclass(frozen=True)
class PeerBack(Event):
    """There is a connection to a kept peer again; a relayed one may still become direct."""

    peer: PeerId
    remote: Multiaddr
    relayed: bool


@dataclass(frozen=True)
class NetworkChanged(Event):
    """The machine goes out by other addresses now, of IPv4 and of IPv6."""

    addresses: tuple[str, ...]


@dataclass(frozen=True)
class RelayLeft(Event):
    """The relayed connection is closed; `forced` when streams were still open on it."""

    peer: PeerId
    forced: bool


@dataclass(frozen=True)
class HandlerFailed(Event):
    """An inbound stream was reset because of an error."""

    peer: PeerId
    protocol: str
    reason: str


@dataclass(frozen=True)
class PortMapped(Event):
    """The gateway maps a port for us; `renewed` when it did so already, with the same address."""

    mapping: PortMapping
    renewed: bool


@dataclass(frozen=True)
class PortMapLost(Event):
    """A mapping is no more, or no longer to be relied on; a new one is being sought."""

    mapping: PortMapping
    reason: str


@dataclass(frozen=True)
class PortMapFailed(Event):
    """No mapping for this port; `service` is empty when none answered at all."""

    transport: str
    internal_port: int
    service: str
    reason: str
