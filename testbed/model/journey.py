"""What is read off the packets of a run, once: their journeys, and labels of what they carry."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from testbed.model.packet import Endpoint, Packet, Protocol
from testbed.model.refusal import Refusal


class Fate(StrEnum):
    """What became of a packet at one node of its way."""

    SENT = "sent"  # its host made it
    FORWARDED = "forwarded"  # passed as it was, but for the TTL
    TRANSLATED = "translated"  # passed with another source or destination
    ARRIVED = "arrived"  # at the host that owns its destination
    TAKEN = "taken"  # a router's own kernel took it, and said nothing
    DROPPED = "dropped"  # went in and never came out
    REJECTED = "rejected"  # the router answered with a RST or an ICMP error
    LOST = "lost"  # left the node before this one, never reached it


@dataclass(frozen=True, slots=True)
class Hop:
    """One node of a way.  ``inward`` is the packet as it came in, ``outward`` as it left."""

    node: str
    fate: Fate
    inward: Packet | None = None
    outward: Packet | None = None
    rules: tuple[Refusal, ...] = ()  # drop rules that may have taken it; one if it is certain
    answer: Packet | None = None  # the RST or ICMP error of a rejected packet, as it left


@dataclass(frozen=True, slots=True)
class Journey:
    """One datagram or segment from the host that sent it as far as it came, across NATs."""

    hops: tuple[Hop, ...]

    @property
    def first(self) -> Packet:
        """As its sender made it; of a packet whose sender was not captured, as first seen."""
        hop = self.hops[0]
        packet = hop.outward or hop.inward
        assert packet is not None  # by construction: a journey begins with a packet
        return packet

    @property
    def last(self) -> Packet:
        """As it was last seen."""
        for hop in reversed(self.hops):
            if packet := hop.outward or hop.inward:
                return packet
        return self.first

    @property
    def sender(self) -> str:
        return self.hops[0].node

    @property
    def end(self) -> Hop:
        return self.hops[-1]

    @property
    def arrived(self) -> bool:
        return self.end.fate is Fate.ARRIVED

    @property
    def packets(self) -> tuple[int, ...]:
        """The numbers of every sight of it, in order."""
        seen = (p.number for hop in self.hops for p in (hop.inward, hop.outward) if p)
        return tuple(dict.fromkeys(seen))

    def at(self, node: str) -> Hop | None:
        """Its first hop at ``node``."""
        return next((hop for hop in self.hops if hop.node == node), None)


@dataclass(frozen=True, slots=True)
class PortLease:
    """An external port that is given, or asked for; of 0 seconds for good, or until it is ended.

    ``given``: a router's word that it is so.  Without it, it is what a host asks for.
    """

    external_port: int
    seconds: int
    given: bool


class Weight(IntEnum):
    """How much what a packet says is worth to a reader who follows an attempt."""

    TELLING = 0
    USUAL = 1  # payload, and what is done alike in every run
    NOTHING = 2  # upkeep


class NoteKind(StrEnum):
    """What was added to a label, in view of other packets or of what the peers told."""

    ANSWER = "answer"  # to which packet
    AGAIN = "again"  # what it repeats
    CONTEXT = "context"


@dataclass(frozen=True, slots=True)
class LabelNote:
    """An addition to a label's words."""

    kind: NoteKind
    text: str


@dataclass(frozen=True, slots=True)
class Label:
    """What one packet says, read from its bytes (or, where encrypted, from outside).

    ``filler``: payload of which no more than its size is known; ``sealed``: it is encrypted,
    so that a note says more than ``own``.
    """

    protocol: str  # "stun", "turn", "quic", "tcp", "nat-pmp", "pcp", "ssdp", "upnp", "icmp", ...
    own: str  # for people, short: "Binding request", "SYN", "Initial"
    fields: tuple[tuple[str, str], ...] = ()  # ("XOR-MAPPED-ADDRESS", "29.0.0.2:4001"), ...
    lease: PortLease | None = None  # of a port-mapping protocol
    error: int | None = None  # STUN's code
    weight: Weight = Weight.TELLING
    filler: bool = False
    sealed: bool = False
    notes: tuple[LabelNote, ...] = ()

    @property
    def text(self) -> str:
        """With all that was added."""
        return ", ".join([self.own, *(note.text for note in self.notes)])

    def field(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key == name), None)


class Change(StrEnum):
    NEW = "new"
    UPDATE = "update"
    DESTROY = "destroy"


@dataclass(frozen=True, slots=True)
class FlowEvent:
    """What a router's conntrack told of one flow, by CLOCK_REALTIME in ns."""

    node: str
    time_ns: int
    change: Change
    protocol: Protocol
    original: tuple[Endpoint, Endpoint]  # source and destination as its first packet came in
    reply: tuple[Endpoint, Endpoint]  # as its replies come in: here the mapping shows
    replied: bool = False
    assured: bool = False
