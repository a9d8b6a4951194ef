"""What a router did that its profile denies, or did not that its profile declares."""

from ipaddress import IPv4Address

from testbed.model.behaviour import Hairpin, PortRange, Unsolicited
from testbed.model.packet import Endpoint, Protocol
from testbed.model.statement import Statement


class LetOutThough(Statement):
    """A router let out what it blocks; with ``ports`` it lets out to those alone."""

    router: str
    protocol: Protocol
    remote: Endpoint
    ports: tuple[int, ...] = ()


class NotLetOut(Statement):
    """A router did not let a packet out, without a reason in its profile."""

    router: str
    source: Endpoint
    destination: Endpoint


class LetInThough(Statement):
    """A router let in whom the endpoint had sent nothing to."""

    router: str
    remote: Endpoint
    external: Endpoint
    unsent: Endpoint | IPv4Address  # as its filter looks at it


class ShutThough(Statement):
    """A router did not let in whom the endpoint's own packet had opened it for."""

    router: str
    source: Endpoint
    destination: Endpoint
    external: Endpoint
    remote: Endpoint


class HairpinDiffers(Statement):
    """A router took a packet back in; ``seen_as`` None: it should not hairpin at all."""

    router: str
    internal: Endpoint
    remote: Endpoint
    declared: Hairpin
    seen_as: Endpoint | None = None


class NoHairpin(Statement):
    """A router did not take a packet back in, and should."""

    router: str
    source: Endpoint
    destination: Endpoint


class SentOut(Statement):
    """By which endpoint a router sent a flow out."""

    router: str
    internal: Endpoint
    remote: Endpoint
    external: Endpoint


class Translated(Statement):
    """It should not translate."""

    sent: SentOut


class NotKept(Statement):
    """It should have kept the endpoint."""

    before: SentOut
    sent: SentOut
    kept: Endpoint


class NotAnother(Statement):
    """It should have been another endpoint."""

    first: SentOut
    sent: SentOut


class PortOutside(Statement):
    """The port is not one of the declared range."""

    sent: SentOut
    ports: PortRange


class PortNotKept(Statement):
    """The port should have been preserved."""

    sent: SentOut
    port: int


class OverQuota(Statement):
    """A subscriber has more mappings than are allowed."""

    sent: SentOut
    count: int
    subscriber: IPv4Address
    quota: int


class AnswerDiffers(Statement):
    """A router answered an uninvited packet otherwise than its profile declares."""

    router: str
    source: Endpoint
    given: Unsolicited
    declared: Unsolicited
