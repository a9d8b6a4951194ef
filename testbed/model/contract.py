"""What is said to a peer on its stdin, and by it on its stdout: JSON Lines.

A line is one JSON object.  The harness writes commands, the peer writes events;
unknown, missing and ill-typed fields are refused (``detail`` of `Failed` and ``accepts`` of
`Offered` alone may be missing), and so is a message in the wrong order
(`testbed.stacks.order`).  Times are nanoseconds of CLOCK_MONOTONIC, which all processes of one
machine share.
`testbed.model.contract_lines` reads and writes them.
"""

from enum import StrEnum
from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from testbed import foreign
from testbed.model.outcome import StepName as StepName

VERSION = 2
LINE_LIMIT = 65536  # bytes, newline included
ECHO_LIMIT = 1 << 24  # bytes
NONCE_BYTES = 16

Nonce = Annotated[str, Field(pattern=f"^[0-9a-f]{{{2 * NONCE_BYTES}}}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
Nanoseconds = Annotated[int, Field(ge=0, le=foreign.LATEST)]
# For people alone: nothing in it moves a cursor, or gives an order to whoever prints it.
Remark = Annotated[str, Field(max_length=1000), AfterValidator(foreign.words)]


class Role(StrEnum):
    """What a peer is.  The last three are libp2p's, and run on their own.

    ``relay`` and ``autonat_server`` are public nodes: each listens at ``local_address`` and
    ``port`` by ``transport``, identifies whoever connects, says `Ready` and serves until it is
    told to close or its stdin ends.  A relay relays circuits (v2); an AutoNAT server answers
    each version that the stack has, and observes.

    ``autonat_client`` is a node behind a NAT.  It listens, connects to all ``observers`` from
    its listening port, says `Observed` of each that answers, asks them about those addresses,
    says `Verdicts`, and keeps its connections until it is told to close.
    """

    DIALER = "dialer"
    LISTENER = "listener"
    RELAY = "relay"
    AUTONAT_SERVER = "autonat_server"
    AUTONAT_CLIENT = "autonat_client"


ENDS = (Role.DIALER, Role.LISTENER)  # of a cell


class Transport(StrEnum):
    UDP = "udp"
    TCP = "tcp"


class Mode(StrEnum):
    """How a peer goes about a dial; the last two are the negative controls."""

    PUNCH = "punch"  # both sides send, at once
    PLAIN_DIAL = "plain_dial"  # the dialer sends from a fresh port, the listener only answers
    SILENT = "silent"  # punching is off: nobody sends


class Path(StrEnum):
    DIRECT = "direct"
    RELAYED = "relayed"


class Reachable(StrEnum):
    """A peer's opinion of itself, as AutoNAT and the like form it."""

    UNKNOWN = "unknown"
    PRIVATE = "private"
    PUBLIC = "public"


class FailureClass(StrEnum):
    """Why there is no connection (any more)."""

    UNSUPPORTED = "unsupported"  # the peer cannot do what it was configured for
    GATHERING = "gathering"  # the STUN or TURN server gave no answer
    NOT_ATTEMPTED = "not_attempted"  # mode ``silent``
    TIMEOUT = "timeout"  # the deadline of the dial passed
    CHECKS = "checks"  # every candidate pair failed before the deadline
    LOST = "lost"  # was connected, and is no longer


class FailureDetail(StrEnum):
    """What a peer knows of a failure besides its class."""

    RELAY_REFUSED = "relay_refused"  # the relay answered with a status other than OK
    NO_RESERVATION = "no_reservation"  # it did, because the other side has no reservation there


class How(StrEnum):
    """By which way a relayed connection went direct."""

    DIRECT = "direct"  # the dialer's own dial was slower than the relay
    REVERSED = "reversed"  # the side that was dialed dialed back
    PUNCHED = "punched"  # both sides sent at once


class RungName(StrEnum):
    """What carries a connection, the best first."""

    DIRECT = "direct"
    REVERSED = "reversed"
    PUNCHED = "punched"
    RELAYED = "relayed"
    RENTED = "rented"  # relayed, and paid for


class Ability(StrEnum):
    """What a peer takes beside what every peer of this version takes."""

    NONCE = "nonce"  # of an echo


class Message(BaseModel):
    # "defaults required": a schema in which the word that tells messages apart may not lack
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        json_schema_serialization_defaults_required=True,
    )


class Endpoint(Message):
    """A transport address."""

    address: IPv4Address
    port: Port

    @classmethod
    def of(cls, pair: tuple[str, int]) -> "Endpoint":
        """From a socket's address tuple."""
        return cls(address=IPv4Address(pair[0]), port=pair[1])

    @property
    def pair(self) -> tuple[str, int]:
        """As sockets take it."""
        return (str(self.address), self.port)

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


class TurnServer(Message):
    """A TURN server and long-term credentials (RFC 8489 section 9.2)."""

    server: Endpoint
    transport: Transport  # between client and server
    username: str
    password: str


class Options(Message):
    mode: Mode
    relay_only: bool  # use no path but a relayed one


class Keeping(Message):
    """A connection is to be kept: times in seconds, ``keepalive`` null for none."""

    keepalive: Annotated[float, Field(gt=0)] | None  # between two signs of life
    patience: Annotated[float, Field(gt=0)]  # of silence, after which the connection is over


class CircuitLimits(Message):
    """What a relay lets each circuit carry each way, and for how long; 0 is no limit.

    ``circuits``: how many there may be at once.
    """

    data: Annotated[int, Field(ge=0)]  # bytes
    duration: Annotated[int, Field(ge=0)]  # seconds
    circuits: Annotated[int, Field(ge=1)]


class IceParameters(Message):
    """RFC 8839: ice-ufrag, ice-pwd, and candidate attributes in SDP form."""

    ufrag: str
    pwd: str
    candidates: tuple[str, ...]


class Offer(Message):
    """What one side has to tell the other; opaque to the harness, which carries it."""

    addresses: tuple[Endpoint, ...]  # server-reflexive
    ice: IceParameters | None
    multiaddrs: tuple[str, ...] = ()  # by which a libp2p peer is dialed


class Configure(Message):
    """The first line.

    A peer ignores what it has no need of.  ``relays`` and ``observers`` are multiaddrs
    of public libp2p nodes, each with its /p2p/ part.  ``keep`` is left out but for stacks
    whose manifest has the feature: an end dials again when the connection is lost, and
    an echo that is lost with it ends as `Echoed` with 0 bytes; a relay sets no limits.
    ``also`` is left out but for hosts of several interfaces, and stacks whose manifest has the
    feature: an address of each other interface, where an ICE agent gathers candidates, too.
    ``announce`` is left out but for public nodes behind a NAT, whose manifest has the feature:
    others reach the node there, and it tells this address in place of its own.
    ``extra_time`` is left out but in worlds whose ways are long or lose packets, and for stacks
    whose manifest has the feature: seconds by which each deadline of a peer's own is longer.
    ``patience`` is left out but for punchers whose manifest has the feature: seconds from
    ``start_at`` after which an end that nobody has answered gives up, in place of its own.
    ``limits`` is left out but for relays whose manifest has the feature, in place of their own.
    """

    command: Literal["configure"] = "configure"
    version: Literal[2]
    role: Role
    transport: Transport
    local_address: IPv4Address
    port: Port
    stun: Endpoint | None
    turn: TurnServer | None
    relays: tuple[str, ...]
    observers: tuple[str, ...]
    session: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]  # shared by the two peers of a cell
    seed: Annotated[int, Field(ge=0)]  # of the payload's bytes
    options: Options
    keep: Annotated[Keeping | None, Field(exclude_if=lambda keep: keep is None)] = None
    also: Annotated[tuple[IPv4Address, ...], Field(exclude_if=lambda also: not also)] = ()
    announce: Annotated[Endpoint | None, Field(exclude_if=lambda at: at is None)] = None
    extra_time: Annotated[float, Field(ge=0, exclude_if=lambda extra: not extra)] = 0.0
    patience: Annotated[float | None, Field(gt=0, exclude_if=lambda told: told is None)] = None
    limits: Annotated[CircuitLimits | None, Field(exclude_if=lambda told: told is None)] = None


class Dial(Message):
    """Reach ``remote``; nothing leaves the peer before ``start_at``."""

    command: Literal["dial"] = "dial"
    remote: Offer
    start_at: Nanoseconds


class Echo(Message):
    """Send this many bytes, and count those that the other side sends back.

    Each payload of a frame begins with the octets of ``nonce``, and so does a stream.  It is
    told to the dialer alone, and left out but for peers that accept it.
    """

    command: Literal["echo"] = "echo"
    bytes: Annotated[int, Field(ge=1, le=ECHO_LIMIT)]
    nonce: Annotated[Nonce | None, Field(exclude_if=lambda nonce: nonce is None)] = None


class Close(Message):
    """Give up everything and exit with 0."""

    command: Literal["close"] = "close"


class _Event(Message):
    at: Nanoseconds  # when it happened, by the peer


class Listening(_Event):
    event: Literal["listening"] = "listening"
    local: Endpoint


class Observed(_Event):
    """The address that a STUN server, or an observer, saw."""

    event: Literal["observed"] = "observed"
    address: Endpoint
    server: Endpoint


class Reserved(_Event):
    """A relay gives us this address: a TURN server's, or a circuit's multiaddr besides."""

    event: Literal["reserved"] = "reserved"
    relay: Endpoint
    circuit: str | None


class PortMapping(_Event):
    """What came of asking the gateway for a port: strangers reach ``external``, or ``trouble``

    says why none can.  A useless mapping has both.
    """

    event: Literal["port_mapping"] = "port_mapping"
    service: str | None
    external: Endpoint | None
    trouble: Remark | None


class Reachability(_Event):
    event: Literal["reachability"] = "reachability"
    status: Reachable


class Ready(_Event):
    """A public node serves.  ``addresses`` are multiaddrs, each with its /p2p/ part."""

    event: Literal["ready"] = "ready"
    addresses: Annotated[tuple[str, ...], Field(min_length=1)]


class AddressVerdict(Message):
    address: Endpoint
    verdict: Reachable


class Verdicts(_Event):
    """AutoNAT's: v1 judges the node, v2 each address asked about; null is a version not had.

    They are the stack's own conclusions from all servers' answers, not those answers.
    """

    event: Literal["verdicts"] = "verdicts"
    v1: Reachable | None
    v2: tuple[AddressVerdict, ...] | None


class Offered(_Event):
    """Gathering is over; ``offer`` is to be carried to the other side."""

    event: Literal["offer"] = "offer"
    offer: Offer
    accepts: Annotated[tuple[Ability, ...], Field(exclude_if=lambda accepts: not accepts)] = ()


class Connected(_Event):
    """Both directions work.  ``path`` is a claim: the verdict comes from the wire."""

    event: Literal["connected"] = "connected"
    local: Endpoint
    remote: Endpoint
    path: Path


class Upgraded(_Event):
    """A relayed connection went direct, in the ``attempts``-th punch (0 if reversed)."""

    event: Literal["upgraded"] = "upgraded"
    local: Endpoint
    remote: Endpoint
    how: How
    attempts: Annotated[int, Field(ge=0)]


class RungReached(_Event):
    """Bytes have come back over this rung of the dialer's ladder, the best one so far."""

    event: Literal["rung"] = "rung"
    rung: RungName
    remote: Endpoint  # of a circuit: the relay's


class Lost(_Event):
    """A connection over this path is gone, and the peer has been told to keep it."""

    event: Literal["lost"] = "lost"
    path: Path
    reason: Remark  # for people alone


class Stayed(_Event):
    """There will be no (further) attempt at upgrading a relayed connection."""

    event: Literal["stayed"] = "stayed"
    reason: Remark


class Step(_Event):
    """One step of an upgrade; ``realtime``: the same instant as captures have it."""

    event: Literal["step"] = "step"
    name: StepName
    attempt: Annotated[int, Field(ge=0)]
    realtime: Nanoseconds


class Echoed(_Event):
    """``bytes`` came back unaltered; fewer than asked for if some were lost."""

    event: Literal["echoed"] = "echoed"
    bytes: Annotated[int, Field(ge=0, le=ECHO_LIMIT)]


class Heard(_Event):
    """A stream that was sent back began with these octets.

    Said by listeners that accept a nonce and whose streams are encrypted.
    """

    event: Literal["heard"] = "heard"
    nonce: Nonce


class Accounted(_Event):
    """The last word of an end that pays for circuits, or counts.

    ``statements`` are what was signed on those that it paid for, as
    ``python -m testbed.traversal rent verify`` reads them; ``keys`` are lines by which its
    connections are opened in a capture (`testbed.evidence.unsealed`).
    """

    event: Literal["accounted"] = "accounted"
    statements: tuple[str, ...]
    keys: tuple[str, ...]


class Failed(_Event):
    event: Literal["failed"] = "failed"
    failure: FailureClass
    reason: Remark  # for people alone
    detail: FailureDetail | None = None


class Closed(_Event):
    event: Literal["closed"] = "closed"


Command = Configure | Dial | Echo | Close
Event = (
    Listening
    | Observed
    | Reserved
    | PortMapping
    | Reachability
    | Ready
    | Verdicts
    | Offered
    | Connected
    | RungReached
    | Upgraded
    | Lost
    | Stayed
    | Step
    | Echoed
    | Heard
    | Accounted
    | Failed
    | Closed
)
