"""How a direct connection was had: what opened a NAT for what."""

from testbed.model.packet import Endpoint
from testbed.model.statement import Statement


class WayUnseen(Statement):
    """The wire shows a direct connection, and not all of its way."""


class ArrivalUnseen(Statement):
    """The wire shows a direct connection, but no packet of one peer that came to the other."""

    source: str
    target: str


class PacketCame(Statement):
    """A packet came to the other peer; ``to``, ``source`` where it matters."""

    node: str
    target: str
    to: Endpoint | None = None
    source: Endpoint | None = None


class CameByNoNat(Statement):
    """A packet came in by no NAT that is known."""

    node: str
    target: str


class PassedNoNat(Statement):
    """A packet arrived without passing a NAT."""

    node: str
    destination: Endpoint


class NoNatBetween(Statement):
    """Both peers are in one network, or both on the internet."""

    dialer: str
    listener: str
    network: bool


class CameBackIn(Statement):
    """A packet to the router's own outside came back in."""

    node: str
    remote: Endpoint
    router: str
    source: Endpoint
    destination: Endpoint


class Hairpinned(Statement):
    """The router took a packet to its own outside back in."""

    router: str
    node: str
    target: str


class DialedBack(Statement):
    """A peer dialed, and that came to the other."""

    node: str
    destination: Endpoint
    target: str


class Reversed(Statement):
    """The dialer can be reached, so the listener dialed back."""

    target: str
    node: str


class Admitted(Statement):
    """A router let a packet in to which nobody had sent."""

    router: str
    node: str
    external: Endpoint
    by_address: bool  # its filter looks at the address alone; else it lets anybody in
    remote: Endpoint


class Reachable(Statement):
    """No NAT stands before a peer."""

    node: str
    other: str


class HadOpened(Statement):
    """The other peer's own packet had opened a router."""

    other: str
    remote: Endpoint
    router: str
    lead_ms: float
    node: str


class AnswersSeen(Statement):
    """A peer answers the endpoint from where the other's packet came."""

    other: str
    seen: Endpoint
    node: str


class Learned(Statement):
    """A peer comes from another endpoint than it had ``signalled``, or was seen as."""

    node: str
    signalled: bool
    told: tuple[Endpoint, ...]
    seen: Endpoint
    other: str


class AskedForPort(Statement):
    """A router had been asked for a port; ``target``: to which it forwards it."""

    router: str
    port: int
    target: Endpoint | None = None


class Forwards(Statement):
    """A router forwards a port."""

    router: str
    port: int
    target: Endpoint


class Exposes(Statement):
    """A router exposes a host: what nothing else takes goes there."""

    router: str
    port: int
    target: Endpoint


class Opened(Statement):
    """A packet that opened an endpoint of a router."""

    internal: Endpoint
    remote: Endpoint
    external: Endpoint
    router: str


class CameIn(Statement):
    """A packet came in at a router; ``by_address`` None: by what had been opened."""

    node: str
    remote: Endpoint
    router: str
    external: Endpoint
    by_address: bool | None
    at_ms: float


class CameAndEnded(Statement):
    """A packet came to a node, and in or was stopped there, by a rule if one is known."""

    source: Endpoint
    node: str
    destination: Endpoint
    entered: bool
    rule: str | None
