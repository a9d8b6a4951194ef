"""NAT-PMP, the client's side (RFC 6886).

`Client` takes datagrams and time, and gives datagrams and events; it knows no socket.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address

from ..errors import ProtocolError
from .exchange import Answered, Failed, Outbox, Restarted
from .mapping import (
    Endpoint,
    NetworkFailureError,
    NoResourcesError,
    NoServiceError,
    NotAuthorizedError,
    RefusedError,
    Service,
    Transport,
    UnsupportedRequestError,
    UnsupportedVersionError,
    Wanted,
)

VERSION = 0
SERVER_PORT = 5351
ANNOUNCEMENTS = Endpoint(IPv4Address("224.0.0.1"), 5350)
INITIAL_INTERVAL = 0.25  # seconds, doubled with each try (section 3.1)
TRIES = 9
_RESPONSE = 128
_HEADER = struct.Struct("!BBHI")  # version, opcode, result, seconds since the start of epoch
_MAPPING = struct.Struct("!HHI")  # internal port, external port, lifetime


class Opcode(IntEnum):
    """Requests; an answer has 128 added."""

    PUBLIC_ADDRESS = 0
    MAP_UDP = 1
    MAP_TCP = 2


class Result(IntEnum):
    """Section 3.5."""

    SUCCESS = 0
    UNSUPPORTED_VERSION = 1
    NOT_AUTHORIZED = 2
    NETWORK_FAILURE = 3
    OUT_OF_RESOURCES = 4
    UNSUPPORTED_OPCODE = 5


_ERRORS: dict[int, type[RefusedError]] = {
    Result.UNSUPPORTED_VERSION: UnsupportedVersionError,
    Result.NOT_AUTHORIZED: NotAuthorizedError,
    Result.NETWORK_FAILURE: NetworkFailureError,
    Result.OUT_OF_RESOURCES: NoResourcesError,
    Result.UNSUPPORTED_OPCODE: UnsupportedRequestError,
}


@dataclass(frozen=True)
class AddressQuery:
    """The request for the gateway's public address."""


Request = AddressQuery | Wanted


@dataclass(frozen=True)
class Response:
    """An answer, or an announcement.  The last two are None where an error left them out."""

    opcode: Opcode
    result: int
    epoch: int
    address: IPv4Address | None = None
    mapping: Wanted | None = None


@dataclass(frozen=True)
class AddressLearned(Answered[Request]):
    """The gateway's public address; the unspecified one means that it has none."""

    address: IPv4Address


@dataclass(frozen=True)
class Mapped(Answered[Request]):
    """A mapping was made, or ended when `lifetime` (seconds) is 0."""

    external_port: int
    lifetime: int


Event = AddressLearned | Mapped | Failed[Request] | Restarted


def opcode_of(request: Request) -> Opcode:
    """The request's opcode."""
    if isinstance(request, AddressQuery):
        return Opcode.PUBLIC_ADDRESS
    return Opcode.MAP_UDP if request.transport is Transport.UDP else Opcode.MAP_TCP


def encode(request: Request) -> bytes:
    """The datagram.  A deletion suggests no port (section 3.4)."""
    head = bytes((VERSION, opcode_of(request)))
    if isinstance(request, AddressQuery):
        return head
    suggested = request.external_port if request.lifetime else 0
    return head + bytes(2) + _MAPPING.pack(request.internal_port, suggested, request.lifetime)


def decode_response(data: bytes) -> Response:
    """Read an answer or an announcement.  Raises ProtocolError.

    Errors may end after the header (section 3.5), success may not.
    """
    if len(data) < _HEADER.size:
        raise ProtocolError("nat-pmp", f"{len(data)} bytes are too few for an answer")
    version, code, result, epoch = _HEADER.unpack_from(data)
    if version != VERSION or code - _RESPONSE not in Opcode._value2member_map_:
        raise ProtocolError("nat-pmp", f"not an answer: version {version}, opcode {code}")
    opcode, body = Opcode(code - _RESPONSE), data[_HEADER.size :]
    needed = 4 if opcode is Opcode.PUBLIC_ADDRESS else _MAPPING.size
    if len(body) < needed:
        if result == Result.SUCCESS:
            raise ProtocolError("nat-pmp", "a success that says nothing")
        return Response(opcode, result, epoch)
    if opcode is Opcode.PUBLIC_ADDRESS:
        return Response(opcode, result, epoch, address=IPv4Address(body[:4]))
    internal, external, lifetime = _MAPPING.unpack_from(body)
    transport = Transport.UDP if opcode is Opcode.MAP_UDP else Transport.TCP
    mapping = Wanted(transport, internal, external, lifetime)
    return Response(opcode, result, epoch, mapping=mapping)


def refusal(result: int) -> RefusedError:
    """The error for a result code, also for one that the RFC does not know."""
    name = Result(result).name if result in Result._value2member_map_ else "an unknown result"
    return _ERRORS.get(result, RefusedError)(Service.NAT_PMP, result, name)


class Epoch:
    """Does the gateway still know our mappings?  (Section 3.6.)"""

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None

    def restarted(self, epoch: int, now: float) -> bool:
        """Whether it started anew since the last look: its clock is far behind ours."""
        last, self._last = self._last, (epoch, now)
        return last is not None and epoch < last[0] + (now - last[1]) * 7 / 8 - 2


def intervals(initial: float = INITIAL_INTERVAL, tries: int = TRIES) -> Iterator[float]:
    """How long to wait after each transmission, in seconds (section 3.1)."""
    return (initial * 2**attempt for attempt in range(tries))


class Client:
    """One host's requests to one gateway, any number at a time."""

    def __init__(self, gateway: IPv4Address) -> None:
        self._server = Endpoint(gateway, SERVER_PORT)
        self._outbox: Outbox[Request] = Outbox()
        self._epoch = Epoch()

    def request(self, request: Request, now: float) -> None:
        """Ask; a newer request for the same port and transport replaces the older."""
        self._outbox.take_if(lambda old: _same_target(old, request))
        self._outbox.add(request, encode(request), intervals(), now)

    def withdraw(self, request: Request) -> None:
        """Nobody waits for this answer any more."""
        self._outbox.take(request)

    def receive_datagram(self, data: bytes, source: Endpoint, now: float) -> list[Event]:
        """Take an answer or an announcement; what a stranger or a fault sent is ignored."""
        if source != self._server:
            return []
        if data[:1] != bytes([VERSION]):
            return self._other_version(data)
        try:
            response = decode_response(data)
        except ProtocolError:
            return []
        events: list[Event] = [Restarted()] if self._epoch.restarted(response.epoch, now) else []
        return events + self._answers(response)

    def _answers(self, response: Response) -> list[Event]:
        answered = self._outbox.take_if(lambda request: _fits(request, response))
        if response.result != Result.SUCCESS:
            return [Failed(request, refusal(response.result)) for request in answered]
        if response.address is not None:
            return [AddressLearned(request, response.address) for request in answered]
        assert response.mapping is not None
        granted = response.mapping
        return [Mapped(request, granted.external_port, granted.lifetime) for request in answered]

    def _other_version(self, data: bytes) -> list[Event]:
        """A server of PCP alone answers in its own version (RFC 6887 section 9)."""
        if len(data) < 4 or data[1] < _RESPONSE or data[3] != Result.UNSUPPORTED_VERSION:
            return []
        name = Result.UNSUPPORTED_VERSION.name
        error = UnsupportedVersionError(Service.NAT_PMP, data[3], name, offers=data[0])
        return [Failed(request, error) for request in self._outbox.take_if(lambda _: True)]

    def unreachable(self) -> list[Event]:
        """The network says that nobody listens there: all requests fail."""
        error = NoServiceError(f"{self._server} is unreachable")
        return [Failed(request, error) for request in self._outbox.take_if(lambda _: True)]

    def tick(self, now: float) -> list[Event]:
        """Time has passed: send again, give up."""
        error = NoServiceError(f"no NAT-PMP answer from {self._server} after {TRIES} tries")
        return [Failed(request, error) for request in self._outbox.tick(now)]

    def datagrams_to_send(self) -> list[bytes]:
        """For the gateway's port 5351; each only once."""
        return self._outbox.datagrams_to_send()

    @property
    def next_timer(self) -> float | None:
        """When to call `tick`."""
        return self._outbox.next_timer


def _same_target(one: Request, other: Request) -> bool:
    if isinstance(one, Wanted) and isinstance(other, Wanted):
        return (one.transport, one.internal_port) == (other.transport, other.internal_port)
    return one == other


def _fits(request: Request, response: Response) -> bool:
    """Is this the answer to that request?  An error may leave out what it is about."""
    if opcode_of(request) is not response.opcode:
        return False
    if isinstance(request, AddressQuery) or response.mapping is None:
        return True
    if response.mapping.internal_port != request.internal_port:
        return False
    if response.result != Result.SUCCESS:
        return True
    if request.lifetime == 0:
        return response.mapping.lifetime == 0
    return response.mapping.lifetime > 0 and response.mapping.external_port > 0
