"""What travels through the model: endpoints, packets and the programs' messages."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from testbed.nat.behaviour import Protocol


class Endpoint(NamedTuple):
    """A transport address.  The address is its owner's name, ``nat-a`` or ``nat-a#1``."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class Drawn(Endpoint):
    """One whose port a model of a NAT chose where a real one chooses at random.

    Its number says which mapping it is and nothing else: on the wire it is another.
    """

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self.address}:{self.port} (model's port)"


class Kind(StrEnum):
    DATAGRAM = "datagram"
    SYN = "SYN"
    SYN_ACK = "SYN-ACK"
    ACK = "ACK"
    DATA = "segment"
    RESET = "RST"
    UNREACHABLE = "ICMP port unreachable"


@dataclass(frozen=True, slots=True)
class Message:
    """A program's payload: its name, endpoints it speaks of, another message inside."""

    name: str
    endpoint: Endpoint | None = None
    transaction: int = 0
    inner: "Message | None" = None
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet at one point of its way.

    ``origin`` is the host whose program caused it; ``notes`` say what the NATs
    so far did that decides its fate (a port remapped, a filter passed); ``target``
    is the destination that it was first sent to.  ``isn`` names the TCP sender's
    initial sequence number and ``acknowledged`` the other's, so that segments of
    two attempts between the same endpoints are told apart; in QUIC ``isn`` names the
    connection, at both ends.
    """

    protocol: Protocol
    source: Endpoint
    destination: Endpoint
    kind: Kind
    origin: str
    message: Message | None = None
    notes: tuple[str, ...] = ()
    target: Endpoint | None = None
    isn: str = ""
    acknowledged: str = ""

    @property
    def what(self) -> str:
        """A word for people: the message's name, else the segment's."""
        return self.message.name if self.message is not None else self.kind.value
