"""Transport addresses as packets carry them."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import ClassVar, Literal

from testbed.model.frozen import FrozenValue

Protocol = Literal["udp", "tcp", "icmp", "other"]


@dataclass(frozen=True, eq=False)
class Endpoint:
    """A transport address.  ``port`` is 0 where the protocol has none.

    Packets are told apart by their ends, millions of times: the hash is made once.
    """

    __slots__ = ("_hash", "address", "port")

    address: IPv4Address
    port: int
    _hash: ClassVar[int]  # of each one, in truth: but no field, for it says nothing of its own

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((int(self.address), self.port)))

    def __reduce__(self) -> tuple[type["Endpoint"], tuple[IPv4Address, int]]:
        return Endpoint, (self.address, self.port)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Endpoint):
            return NotImplemented
        return self.port == other.port and self.address == other.address

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


class Route(FrozenValue):
    """A route as the kernel has it; a gateway of None is a link or a blackhole.

    Of several routes to one destination the one of the smallest ``metric`` is taken.
    """

    destination: IPv4Network
    gateway: IPv4Address | None
    blackhole: bool = False
    metric: int = 0
    table: int = MAIN


class Rule(FrozenValue):
    """A rule of the kernel's routing policy: what has ``source`` asks ``table`` first."""

    source: IPv4Network
    table: int
