"""What an explanation is made of: values that every stage of this room exchanges.

packets -> journeys -> labels -> explanation -> diagram, all of it pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum

from testbed.model.behaviour import Behaviour
from testbed.model.breach import Breach
from testbed.model.contract import Event
from testbed.model.fault import Fault
from testbed.model.outcome import Outcome
from testbed.model.packet import Endpoint, Packet, Protocol
from testbed.model.plan import Plan
from testbed.model.prediction import Prediction
from testbed.model.refusal import Refusal
from testbed.model.statement import Statement
from testbed.model.technique import Technique
from testbed.model.verdict import Judgement
from testbed.model.window import Window


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


@dataclass(frozen=True)
class Evidence:
    """All that is known of one run.  None: that was not recorded, which is not "nothing"."""

    name: str  # of the cell
    technique: Technique  # of the cell's mechanism, in its mode
    mode: str  # `testbed.studies.punch.cell.MODES`
    plan: Plan
    behaviours: Mapping[str, Behaviour]  # router -> what its profile declares
    dialer: str
    listener: str
    server: str
    packets: Sequence[Packet] | None
    events: tuple[tuple[str, Event], ...] | None  # node, what its peer said
    flows: tuple[FlowEvent, ...] | None
    drops: Mapping[str, Mapping[str, int]] | None  # router -> drop rule -> packets
    clock_ns: int | None  # what to add to a peer's monotonic ``at`` for capture time
    start_ns: int | None  # capture time of the common start; None: it never came to that
    prediction: Prediction
    judgement: Judgement
    measured: Outcome | None
    findings: tuple[Breach, ...]  # the judge's
    faults: tuple[Fault, ...] = ()  # the harness's
    cited: tuple[int, ...] = ()  # packets of the connection, by which the judge read its path
    window: Window | None = None  # of the echo; None: nobody was asked for one


@dataclass(frozen=True)
class Stage:
    """What a diagram needs of a run besides its packets; its ends are left and right."""

    plan: Plan
    dialer: str
    listener: str
    start_ns: int | None = None


class Cause(StrEnum):
    """Why it ended as it did.  The vocabulary is closed; the README explains each word."""

    # it got through
    BOTH_OPENED = "both_opened"  # each side's own packet opened its NAT for the other
    FILTER_ADMITS = "filter_admits"  # the filter lets in whom nobody invited
    LEARNED_ADDRESS = "learned_address"  # a packet's source was answered, not the signalled one
    REVERSED = "reversed"  # the reachable side was dialed instead
    REACHABLE = "reachable"  # no NAT stands before the side that was dialed
    HAIRPINNED = "hairpinned"
    SAME_NETWORK = "same_network"
    PORT_MAPPED = "port_mapped"  # by UPnP, NAT-PMP, PCP or a static forward
    # it did not, or only by a relay
    MAPPING_CHANGED = "mapping_changed"  # another external port for another destination
    FILTER_CLOSED = "filter_closed"  # nobody inside had sent to that source
    FILTER_NOT_OPEN_YET = "filter_not_open_yet"  # it was opened, but too late
    EARLY_SYN_RESET = "early_syn_reset"
    EARLY_PACKET_REJECTED = "early_packet_rejected"  # with an ICMP error
    TUPLE_TAKEN = "tuple_taken"  # an early packet owns the tuple, so another port was used
    PORT_COLLISION = "port_collision"
    SIGNALLED_PRIVATE = "signalled_private"
    SIGNALLED_STALE = "signalled_stale"  # the address told was not (or no more) the mapping
    PORT_NOT_SHARED = "port_not_shared"  # a peer dials from other ports than it listens on
    HAIRPIN_MISSING = "hairpin_missing"
    QUOTA_REACHED = "quota_reached"
    PORTS_EXHAUSTED = "ports_exhausted"
    UDP_BLOCKED = "udp_blocked"
    TCP_BLOCKED = "tcp_blocked"  # all of it, or the ports needed
    MAPPING_TIMED_OUT = "mapping_timed_out"
    LEASE_EXPIRED = "lease_expired"  # of a port mapping or a relay's reservation
    HANDSHAKE_FAILED = "handshake_failed"  # packets passed both ways, no connection came of it
    NEVER_SENT = "never_sent"
    PUNCHING_OFF = "punching_off"  # the control: nobody was to try
    RELAY_REFUSED = "relay_refused"
    RELAY_UNREACHABLE = "relay_unreachable"
    ROLE_CONFLICT = "role_conflict"
    LOST_ON_LINK = "lost_on_link"
    FALSE_CLAIM = "false_claim"  # a peer says what the wire denies
    PROTOCOL_VIOLATION = "protocol_violation"
    PEER_FAILED = "peer_failed"  # it crashed, or gave up for a reason of its own
    HARNESS_FAULT = "harness_fault"
    UNKNOWN = "unknown"  # `Explanation.missing` says what evidence it would take


class Wrong(StrEnum):
    """Where measured and predicted differ, or the harness broke: who is at fault."""

    NOBODY = "nobody"
    PREDICTION = "prediction"  # the NATs did as they declare, the peers as they should
    NAT = "nat"  # a router did what its profile denies
    PEER = "peer"
    HARNESS = "harness"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Citation:
    """A packet of the capture, with what a reader will find there."""

    number: int  # in capture.pcapng, as Wireshark counts
    vantage: str
    outgoing: bool
    protocol: Protocol
    source: Endpoint
    destination: Endpoint
    time_ns: int

    @classmethod
    def of(cls, packet: Packet) -> "Citation":
        return cls(
            packet.number,
            packet.vantage,
            packet.outgoing,
            packet.protocol,
            packet.source,
            packet.destination,
            packet.time_ns,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened, and the packets that show it."""

    fact: Statement
    cites: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """One arrow of a message, between two neighbouring columns that the packet passed.

    ``end`` is what became of it at ``to``; addresses are as on this part of the way.
    """

    start: str
    to: str
    source: Endpoint
    destination: Endpoint
    end: Fate
    packets: tuple[int, ...]
    note: Statement | None = None  # what became of it there, where that is worth a word


@dataclass(frozen=True, slots=True)
class Message:
    """One packet on the diagram, or ``count`` like ones in a row."""

    time_ms: float  # since the common start, or since the first packet where there was none
    label: str
    segments: tuple[Segment, ...]
    count: int = 1
    decisive: bool = False


@dataclass(frozen=True, slots=True)
class Diagram:
    """Time goes down, one column a node.  ``omitted`` packets were left out as usual traffic."""

    columns: tuple[str, ...]
    messages: tuple[Message, ...]
    omitted: int = 0


@dataclass(frozen=True)
class Explanation:
    """Why one cell ended as it did."""

    name: str
    mechanism: str
    measured: str | None  # a short value of the study: an `Outcome` of a hole punch
    predicted: str | None
    judgement: Judgement
    cause: Cause
    node: str | None  # at which the cause is: a NAT, a peer, the relay
    headline: Statement  # of the cause
    story: tuple[Line, ...]  # what happened, in order of time; with the decisive moment
    decisive: tuple[Citation, ...]  # the packets of that moment
    wrong: Wrong
    wrong_why: Line | None  # why that side is at fault, where one is
    missing: tuple[Statement, ...]  # evidence that is not there and would be needed
    diagram: Diagram

    @property
    def cites(self) -> tuple[Citation, ...]:
        """Every packet that the explanation points at, once, by number."""
        lines = [*self.story, *([self.wrong_why] if self.wrong_why else [])]
        found = {c.number: c for line in lines for c in line.cites}
        found |= {c.number: c for c in self.decisive}
        return tuple(found[number] for number in sorted(found))
