"""What an explanation is made of: values that every stage of this room exchanges.

packets -> journeys -> labels -> explanation -> diagram, all of it pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from testbed.model.behaviour import Behaviour
from testbed.model.breach import Breach
from testbed.model.contract import Event
from testbed.model.fault import Fault
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Fate, FlowEvent
from testbed.model.outcome import Outcome
from testbed.model.packet import Endpoint, Packet, Protocol
from testbed.model.plan import Plan
from testbed.model.prediction import Prediction
from testbed.model.statement import Statement
from testbed.model.technique import Technique
from testbed.model.verdict import Judgement
from testbed.model.window import Window


class Evidence(FrozenValue):
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


class Stage(FrozenValue):
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
    TOO_LONG = "too_long"  # for a link, whether its end says so or not
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


class Explanation(FrozenValue):
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
