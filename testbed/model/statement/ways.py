"""How a direct connection was had: what opened a NAT for what."""

from dataclasses import dataclass

from testbed.model.packet import Endpoint
from testbed.model.statement import Statement


@dataclass(frozen=True)
class WayUnseen(Statement):
    """The wire shows a direct connection, and not all of its way."""


@dataclass(frozen=True)
class ArrivalUnseen(Statement):
    """The wire shows a direct connection, but no packet of one peer that came to the other."""

    source: str
    target: str


@dataclass(frozen=True)
class PacketCame(Statement):
    """A packet came to the other peer; ``to``, ``source`` where it matters."""

    node: str
    target: str
    to: Endpoint | None = None
    source: Endpoint | None = None


@dataclass(frozen=True)
class CameByNoNat(Statement):
    """A packet came in by no NAT that is known."""

    node: str
    target: str


@dataclass(frozen=True)
class PassedNoNat(Statement):
    """A packet arrived without passing a NAT."""

    node: str
    destination: Endpoint


@dataclass(frozen=True)
class NoNatBetween(Statement):
    """Both peers are in one network, or both on the internet."""

    dialer: str
    listener: str
    network: bool


@dataclass(frozen=True)
class CameBackIn(Statement):
    """A packet to the router's own outside came back in."""

    node: str
    remote: Endpoint
    router: str
    source: Endpoint
    destination: Endpoint


@dataclass(frozen=True)
class Hairpinned(Statement):
    """The router took a packet to its own outside back in."""

    router: str
    node: str
    target: str


@dataclass(frozen=True)
class DialedBack(Statement):
    """A peer dialed, and that came to the other."""

    node: str
    destination: Endpoint
    target: str


@dataclass(frozen=True)
class Reversed(Statement):
    """The dialer can be reached, so the listener dialed back."""

    target: str
    node: str


@dataclass(frozen=True)
class Admitted(Statement):
    """A router let a packet in to which nobody had sent."""

    router: str
    node: str
    external: Endpoint
    by_address: bool  # its filter looks at the address alone; else it lets anybody in
    remote: Endpoint


@dataclass(frozen=True)
class Reachable(Statement):
    """No NAT stands before a peer."""

    node: str
    other: str


@dataclass(frozen=True)
class HadOpened(Statement):
    """The other peer's own packet had opened a router."""

    other: str
    remote: Endpoint
    router: str
    lead_ms: float
    node: str


@dataclass(frozen=True)
class AnswersSeen(Statement):
    """A peer answers the endpoint from where the other's packet came."""

    other: str
    seen: Endpoint
    node: str


@dataclass(frozen=True)
class Learned(Statement):
    """A peer comes from another endpoint than it had ``signalled``, or was seen as."""

    node: str
    signalled: bool
    told: tuple[Endpoint, ...]
    seen: Endpoint
    other: str


@dataclass(frozen=True)
class AskedForPort(Statement):
    """A router had been asked for a port; ``target``: to which it forwards it."""

    router: str
    port: int
    target: Endpoint | None = None


@dataclass(frozen=True)
class Forwards(Statement):
    """A router forwards a port."""

    router: str
    port: int
    target: Endpoint


@dataclass(frozen=True)
class Opened(Statement):
    """A packet that opened an endpoint of a router."""

    internal: Endpoint
    remote: Endpoint
    external: Endpoint
    router: str


@dataclass(frozen=True)
class CameIn(Statement):
    """A packet came in at a router; ``by_address`` None: by what had been opened."""

    node: str
    remote: Endpoint
    router: str
    external: Endpoint
    by_address: bool | None
    at_ms: float


@dataclass(frozen=True)
class CameAndEnded(Statement):
    """A packet came to a node, and in or was stopped there, by a rule if one is known."""

    source: Endpoint
    node: str
    destination: Endpoint
    entered: bool
    rule: str | None
