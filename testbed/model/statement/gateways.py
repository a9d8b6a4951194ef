"""What the prober saw of a gateway, and of the ports that it granted."""

from enum import StrEnum

from testbed.model.statement import Statement


class Asked(StrEnum):
    """What a UPnP gateway was asked for, and answered by a code."""

    ANY_PORT = "any_port"
    LEASE = "lease"
    ABSENT = "absent"


class ServicesAsked(Statement):
    """The port-mapping services that answered, on the LAN or outside."""

    address: str
    services: tuple[str, ...]
    outside: bool


class GrantRefused(Statement):
    """A service granted no port."""

    service: str
    protocol: str


class GrantCalled(Statement):
    """Whether a stranger came in by a port that was granted."""

    service: str
    protocol: str
    port: int
    came: bool


class GrantLeft(Statement):
    """By which ports the host left that had been granted one."""

    service: str
    protocol: str
    inside: int
    granted: int
    seen: tuple[int, ...]


class AskedTwice(Statement):
    """Two external ports were asked for one internal port; what was given each time."""

    first: int
    had: int | None
    second: int
    again: int | None


class Results(Statement):
    """Results of NAT-PMP, as it numbers them."""

    first: int | None
    second: int | None


class PortTaken(Statement):
    """A port was asked for that another has, with the option to prefer failure."""

    port: int
    result: int | None
    given: int | None


class StrangeNonce(Statement):
    """The results of a renewal and of an end with another nonce."""

    renewal: int | None
    end: int | None


class Code(Statement):
    """The code of a UPnP gateway; 0: done; None: no answer."""

    asked: Asked
    code: int | None


class EndlessLease(Statement):
    """The code for a lease of 0, and what is left of it afterwards."""

    code: int | None
    left: str | None


class VersionAnswered(Statement):
    """What the other protocol's version was answered, in hexadecimal digits."""

    version: int
    answer: str


class AddressTold(Statement):
    """The external address, as a service tells it."""

    service: str
    address: str | None


class Clock(Statement):
    """The seconds that a gateway counts, and those after a while."""

    first: int
    last: int


class LeaseRefused(Statement):
    """PCP granted no lease of that length."""

    seconds: int
    result: int | None


class LeaseLimits(Statement):
    """The leases that PCP granted for a short time and for a very long one, in seconds."""

    asked: int
    low: int
    very_long: int
    high: int


class MapsForOther(Statement):
    """The code that a LAN host got for a mapping to another one; 0: done."""

    asker: str
    other: str
    code: int | None
