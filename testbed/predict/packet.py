"""What travels through the model: endpoints, packets and the programs' messages."""

from dataclasses import dataclass
from typing import NamedTuple

from testbed.model.behaviour import Protocol
from testbed.model.trace import Kind, Note, Place


class Way(NamedTuple):
    """One direction of a link, as the length of what crosses it is concerned."""

    largest: int | None  # bytes of an IP packet; a longer one vanishes
    mtu: int | None  # who sends more is told so


@dataclass(frozen=True, slots=True)
class Message:
    """A program's payload: its name, endpoints it speaks of, another message inside."""

    name: str
    endpoint: Place | None = None
    transaction: int = 0
    inner: "Message | None" = None
    endpoints: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Carried:
    """What a packet of a connection carries: a message with its number, and acknowledgements."""

    message: Message | None
    number: int  # -1 without a message
    upto: int  # all before this number have arrived
    early: tuple[int, ...]  # and these after it


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet at one point of its way.

    ``origin`` is the host whose program caused it; ``notes`` say what the NATs
    so far did that decides its fate (a port remapped, a filter passed); ``target``
    is the destination that it was first sent to.  ``isn`` names the TCP sender's
    initial sequence number and ``acknowledged`` the other's, so that segments of
    two attempts between the same endpoints are told apart; in QUIC ``isn`` names the
    connection, at both ends.  ``stamp`` is when a TCP segment left, in seconds, and ``echo`` the
    stamp of the one that its sender goes by (RFC 7323 section 3).  ``carried`` is there where
    messages may get lost on the way, ``tunnelled`` in a tunnel's datagrams.  ``whole``: it
    forbids fragments, and who sends it does not heed what it is told of the way; other packets
    come through, whatever the MTU.
    """

    protocol: Protocol
    source: Place
    destination: Place
    kind: Kind
    origin: str
    message: Message | None = None
    notes: tuple[Note, ...] = ()
    target: Place | None = None
    isn: str = ""
    acknowledged: str = ""
    stamp: float = 0.0
    echo: float = 0.0
    carried: Carried | None = None
    tunnelled: "Tunnelled | None" = None
    length: int = 0
    whole: bool = False
    ways: tuple[Way, ...] = ()


@dataclass(frozen=True, slots=True)
class Tunnelled:
    """A packet inside of a tunnel's datagram; None: by it a client makes itself known."""

    packet: Packet | None
