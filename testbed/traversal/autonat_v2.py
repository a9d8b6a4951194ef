"""AutoNAT v2: one address, proved by a nonce that comes back on it (libp2p autonat-v2 spec)."""

# ruff: noqa: RUF009 - protobuf.message is a field specifier, like dataclasses.field

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from . import protobuf
from .errors import ProtocolError
from .ip_scope import IpAddress
from .multiaddr import Multiaddr

REQUEST_PROTOCOL = "/libp2p/autonat/2/dial-request"
DIAL_BACK_PROTOCOL = "/libp2p/autonat/2/dial-back"
MAX_MESSAGE = 8192
MAX_CHUNK = 4096
MIN_DIAL_DATA, MAX_DIAL_DATA = 30_000, 100_000
MAX_ADDRESSES = 50


class DialStatus(IntEnum):
    """How the dial-back ended."""

    UNUSED = 0
    DIAL_ERROR = 100
    DIAL_BACK_ERROR = 101
    OK = 200


class ResponseStatus(IntEnum):
    """Whether the request was served at all."""

    INTERNAL_ERROR = 0
    REQUEST_REJECTED = 100
    DIAL_REFUSED = 101
    OK = 200


@dataclass(frozen=True)
class DialRequest(protobuf.Message):
    """Addresses in order of priority, and the nonce to send back."""

    addrs: tuple[bytes, ...] = protobuf.blobs(1)
    nonce: int | None = protobuf.fixed64(2)


@dataclass(frozen=True)
class DialResponse(protobuf.Message):
    """The server's word."""

    status: int | None = protobuf.uint(1)
    address_index: int | None = protobuf.uint(2)
    dial_status: int | None = protobuf.uint(3)


@dataclass(frozen=True)
class DialDataRequest(protobuf.Message):
    """The price of a dial to an IP that the client was not seen on."""

    address_index: int | None = protobuf.uint(1)
    num_bytes: int | None = protobuf.uint(2)


@dataclass(frozen=True)
class DialDataResponse(protobuf.Message):
    """A part of the price."""

    data: bytes | None = protobuf.blob(1)


@dataclass(frozen=True)
class Message(protobuf.Message):
    """Exactly one is set."""

    request: DialRequest | None = protobuf.message(1, DialRequest)
    response: DialResponse | None = protobuf.message(2, DialResponse)
    data_request: DialDataRequest | None = protobuf.message(3, DialDataRequest)
    data_response: DialDataResponse | None = protobuf.message(4, DialDataResponse)


@dataclass(frozen=True)
class DialBack(protobuf.Message):
    """The nonce, sent over the dialed connection."""

    nonce: int | None = protobuf.fixed64(1)


@dataclass(frozen=True)
class DialBackResponse(protobuf.Message):
    """The client got it."""

    status: int | None = protobuf.uint(1)


@dataclass(frozen=True)
class Choice:
    """The one address that the server will dial, and what it costs the client first."""

    index: int
    address: Multiaddr
    dial_data: int


def choose(
    blobs: tuple[bytes, ...],
    observed: Multiaddr,
    transports: frozenset[str],
    rng: random.Random,
    *,
    own: Callable[[IpAddress], bool] = lambda _: False,
    allow_private: bool = False,
) -> Choice | None:
    """The first address we are willing and able to dial, or None (then answer DIAL_REFUSED).

    Dial data is due when its IP is not the observed one.  `own` says which IPs are ours: a
    stranger has nothing to prove there, and from within we could reach what he cannot.
    """
    for index, blob in enumerate(blobs[:MAX_ADDRESSES]):
        try:
            address = Multiaddr.decode(blob).without_peer()
        except ValueError:
            continue
        if address.transport not in transports or address.ip is None:
            continue
        if observed.ip is None or address.ip.version != observed.ip.version:
            continue  # no evidence that this server has that family
        if not (allow_private or address.is_public):
            continue
        if address.ip != observed.ip and own(address.ip):
            continue
        due = 0 if address.ip == observed.ip else rng.randint(MIN_DIAL_DATA, MAX_DIAL_DATA)
        return Choice(index, address, due)
    return None


class DialDataMeter:
    """Counts the payment; each chunk at most 4096 bytes, the last may overshoot."""

    def __init__(self, due: int) -> None:
        self.due = due

    @property
    def paid(self) -> bool:
        """Whether the dial may start."""
        return self.due <= 0

    def receive(self, frame: bytes) -> None:
        """One DialDataResponse.  Raises ProtocolError."""
        message = Message.decode(frame)
        data = message.data_response.data if message.data_response else None
        if not data or len(data) > MAX_CHUNK:
            raise ProtocolError("autonat2", "expected dial data of 1 to 4096 bytes")
        self.due -= len(data)


def dial_data_frames(num_bytes: int) -> tuple[bytes, int]:
    """One frame and how many times to send it, so that at least `num_bytes` are paid.

    Raises ProtocolError when the server asks for more than the field's maximum.
    """
    if num_bytes > MAX_DIAL_DATA:
        raise ProtocolError("autonat2", f"server asks for {num_bytes} bytes of dial data")
    frame = Message(data_response=DialDataResponse(bytes(MAX_CHUNK))).encode()
    return frame, -(-num_bytes // MAX_CHUNK)
