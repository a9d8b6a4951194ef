"""What is said to a peer on its stdin, and by it on its stdout: JSON Lines.

A line is one JSON object.  The harness writes commands, the peer writes events;
unknown, missing and ill-typed fields are refused (``detail`` of `Failed` alone may be
missing), and so is a message in the wrong order (`testbed.stacks.order`).  Times are
nanoseconds of CLOCK_MONOTONIC, which all processes of one machine share.
``contract.schema.json`` is this module, written out:
``python -m testbed.model.contract > testbed/stacks/contract.schema.json``.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from testbed import foreign
from testbed.errors import ContractError
from testbed.model.outcome import StepName as StepName

VERSION = 2
LINE_LIMIT = 65536  # bytes, newline included
ECHO_LIMIT = 1 << 24  # bytes

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


class Dial(Message):
    """Reach ``remote``; nothing leaves the peer before ``start_at``."""

    command: Literal["dial"] = "dial"
    remote: Offer
    start_at: Nanoseconds


class Echo(Message):
    """Send this many bytes, and count those that the other side sends back."""

    command: Literal["echo"] = "echo"
    bytes: Annotated[int, Field(ge=1, le=ECHO_LIMIT)]


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
    | Failed
    | Closed
)
_COMMAND: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="command")])
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def encode(message: Command | Event) -> bytes:
    """One line, with its newline."""
    return message.model_dump_json().encode() + b"\n"


def decode_command(line: bytes) -> Command:
    """What the harness said; PeerError if that breaks the contract."""
    return _decode(_COMMAND, line, "command")


def decode_event(line: bytes) -> Event:
    """What a peer said; PeerError if that breaks the contract."""
    return _decode(_EVENT, line, "event")


class Fault(StrEnum):
    """What is wrong with a line."""

    TOO_LONG = "too_long"
    NOT_JSON = "not_json"  # or no object
    UNKNOWN_MESSAGE = "unknown_message"  # no such event or command, or the word is missing
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    WRONG_VALUE = "wrong_value"


class MalformedError(ContractError):
    """A line that is no message: its first ``fault``, in which ``field`` of which ``message``.

    Of a wrong value: ``found`` is its JSON, and ``due`` what should stand there.
    """

    def __init__(
        self,
        words: str,
        fault: Fault,
        message: str = "",
        field: str = "",
        *,
        found: str = "",
        due: str = "",
    ) -> None:
        super().__init__(words)
        self.fault = fault
        self.named = message
        self.field = field
        self.found = found
        self.due = due


_T = TypeVar("_T")
_FAULTS = {  # pydantic's types of errors
    "json_invalid": Fault.NOT_JSON,
    "union_tag_invalid": Fault.UNKNOWN_MESSAGE,
    "union_tag_not_found": Fault.UNKNOWN_MESSAGE,
    "missing": Fault.MISSING_FIELD,
    "extra_forbidden": Fault.UNKNOWN_FIELD,
}
_DUE = {  # by pydantic's types of errors; the braces are its own facts
    **{"tuple_type": "a list", "string_type": "a text", "int_type": "an integer"},
    **{"bool_type": "true or false", "ip_v4_address": "an IPv4 address", "model_type": "an object"},
    **{"int_from_float": "an integer", "enum": "{expected}", "literal_error": "{expected}"},
    **{"greater_than_equal": "{ge} or more", "less_than_equal": "{le} or less"},
    "string_too_long": "a text of at most {max_length} characters",
    "too_short": "a list of at least {min_length}",
    "value_error": "an IPv4 address",  # there is no other type that is not of pydantic's own
}
_SHOWN = 80  # characters of a wrong value


def _decode(adapter: TypeAdapter[_T], line: bytes, what: str) -> _T:
    if len(line) > LINE_LIMIT:
        words = f"a line of {len(line)} bytes; {LINE_LIMIT} are allowed"
        raise MalformedError(words, Fault.TOO_LONG)
    try:
        return adapter.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = [str(part) for part in first["loc"]]
        fault = _FAULTS.get(first["type"], Fault.WRONG_VALUE if where else Fault.NOT_JSON)
        message, field = (where[0] if where else ""), ".".join(where[1:])
        found = due = ""
        trouble = f"{'.'.join(where) or 'line'}: {first['msg']}"
        if fault is Fault.WRONG_VALUE:
            found, due = _short(first["input"]), _due(first)
            trouble = f"{field} of {message} is {found}, {due} is due"
        words = f"not a valid {what}: {trouble}: {line[:200]!r}"
        raise MalformedError(words, fault, message, field, found=found, due=due) from None


def _due(error: Mapping[str, Any]) -> str:
    template = _DUE.get(error["type"])
    return template.format(**error.get("ctx", {})) if template else str(error["msg"])


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def schema() -> dict[str, Any]:
    """The contract as JSON Schema: ``$defs``, and the roots ``command`` and ``event``."""
    roots, shared = TypeAdapter.json_schemas(
        [("command", "serialization", _COMMAND), ("event", "serialization", _EVENT)],
        title="testbed peer contract",
        description=f"Version {VERSION}. JSON Lines: commands to a peer, events from it.",
    )
    named = {key: value for (key, _), value in roots.items()}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **shared, **named}


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2, sort_keys=True))
