"""Packets on their way to the other peer, and the NATs that did not let them in or out."""

from testbed.model.packet import Endpoint, Protocol
from testbed.model.refusal import Refusal
from testbed.model.statement import Statement, Stop


class NotSeenInside(Statement):
    """Packets came to a router from outside, and are not seen behind it."""

    node: str
    router: str


class NotSeenOutside(Statement):
    """Packets came to a router from inside, and are not seen to leave it."""

    node: str
    router: str


class Knocked(Statement):
    """A packet came to a router, which did not let it in."""

    node: str
    source: Endpoint
    place: Endpoint | str
    at_ms: float
    router: str
    stop: Stop


class Stopped(Statement):
    """A router did not let the packet pass."""

    router: str
    stop: Stop


class OwnLeft(Statement):
    """A peer's own packet left its router."""

    node: str
    remote: Endpoint
    router: str
    at_ms: float


class NotOpenYet(Statement):
    """The own packet that opened the router left it later."""

    router: str
    source: Endpoint
    node: str
    late_ms: float


class SynEarly(Statement):
    """A SYN came before the other peer's own, and was refused."""

    node: str
    router: str
    early_ms: float
    target: str
    stop: Stop


class AttemptReset(Statement):
    """A RST came for a connection attempt, which the router took for its end."""

    node: str
    remote: Endpoint
    router: str


class FoundClosed(Statement):
    """A SYN found the router closed after a RST."""

    reset: AttemptReset
    node: str
    router: str


class LetOut(Statement):
    """A router let a packet out, and stopped the answer to it."""

    router: str
    node: str
    external: Endpoint
    remote: Endpoint
    at_ms: float
    stop: Stop


class ClosedAgain(Statement):
    """A router is closed for a source to which the endpoint has sent."""

    router: str
    source: Endpoint
    external: Endpoint


class Opens(Statement):
    """A peer's packet opens an endpoint at its router."""

    node: str
    remote: Endpoint
    external: Endpoint
    router: str


class NotLetIn(Statement):
    """A router did not let a peer in."""

    router: str
    node: str


class Uninvited(Statement):
    """Nobody inside had sent to the source."""

    router: str
    source: Endpoint


class LeaseGiven(Statement):
    """A router gave a port for a time."""

    router: str
    port: int
    seconds: int


class LeaseOver(Statement):
    """A packet came when the time of a lease had run out."""

    given: LeaseGiven
    node: str
    over_s: float


class LastSeen(Statement):
    """Packets of a peer are last seen on their way, or at a vantage; ``target``: for whom."""

    source: str
    target: str | None = None
    vantage: str | None = None


class NeverCame(Statement):
    """Packets left a vantage, and never came to the next node."""

    count: int
    source: str
    vantage: str
    node: str


class KnownPrivate(Statement):
    """A peer was known to the other by private addresses alone."""

    target: str
    source: str
    addresses: tuple[Endpoint, ...]


class NoRoute(Statement):
    """A peer sends to addresses to which there is no way."""

    source: str
    addresses: tuple[Endpoint, ...]


class StoppedByRules(Statement):
    """One of several rules of the own router stopped a peer's packets."""

    router: str
    node: str
    rules: tuple[Refusal, ...]


class StoppedByRule(Statement):
    """A rule that no declared axis accounts for stopped a peer's packets."""

    router: str
    node: str
    rule: Refusal


class LetsNoOut(Statement):
    """The own router does not let a packet out, by one of its rules."""

    router: str
    rule: Refusal
    protocol: Protocol
    node: str
    destination: Endpoint
    quota: int | None


class StoppedMany(Statement):
    """When the own router stopped a peer's packets; ``last_ms`` None: it was one."""

    router: str
    count: int
    node: str
    first_ms: float
    last_ms: float | None


# -- on the diagram -----------------------------------------------------------


class Dropped(Statement):
    """By one of the rules, or since the destination is private."""

    rules: tuple[Refusal, ...] = ()
    private: bool = False


class Answered(Statement):
    """With a packet of that label, or of that protocol; None: the answer was not seen."""

    label: str | None = None
    protocol: Protocol | None = None


class LostOnWay(Statement):
    """Between two nodes."""


class TakenByRouter(Statement):
    """By the kernel of the router itself."""
