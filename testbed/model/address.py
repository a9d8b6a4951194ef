"""Transport addresses as packets carry them."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

Protocol = Literal["udp", "tcp", "icmp", "other"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A transport address.  ``port`` is 0 where the protocol has none."""

    address: IPv4Address
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Socket:
    """A port that a process in a node has."""

    node: str
    protocol: Protocol
    port: int


@dataclass(frozen=True, slots=True)
class Sight:
    """One packet of a capture at one interface, as a fact cites it."""

    number: int  # in the capture file, as Wireshark counts
    vantage: str  # "node:interface"
    outgoing: bool
    protocol: Protocol
    source: Endpoint
    destination: Endpoint
    size: int  # bytes of payload

    @property
    def node(self) -> str:
        """Where it was seen."""
        return self.vantage.partition(":")[0]

    def __str__(self) -> str:
        arrow = "out" if self.outgoing else "in"
        return (
            f"#{self.number} {self.vantage} {arrow} {self.protocol} "
            f"{self.source} -> {self.destination} ({self.size} bytes)"
        )


MAIN = 254  # the routing table that is asked where no rule names another


@dataclass(frozen=True)
class Route:
    """A route as the kernel has it; a gateway of None is a link or a blackhole.

    Of several routes to one destination the one of the smallest ``metric`` is taken.
    """

    destination: IPv4Network
    gateway: IPv4Address | None
    blackhole: bool = False
    metric: int = 0
    table: int = MAIN


@dataclass(frozen=True)
class Rule:
    """A rule of the kernel's routing policy: what has ``source`` asks ``table`` first."""

    source: IPv4Network
    table: int
