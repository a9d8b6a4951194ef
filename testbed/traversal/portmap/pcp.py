"""PCP version 2: messages, options and result codes (RFC 6887)."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address

from ..errors import ProtocolError
from .mapping import (
    ANY,
    Address,
    AddressMismatchError,
    ConflictError,
    Endpoint,
    MalformedRequestError,
    NetworkFailureError,
    NoResourcesError,
    NotAuthorizedError,
    QuotaError,
    RefusedError,
    Service,
    TooManyPeersError,
    UnsupportedRequestError,
    UnsupportedVersionError,
    Wanted,
)

VERSION = 2
SERVER_PORT = 5351
ANNOUNCEMENTS = Endpoint(IPv4Address("224.0.0.1"), 5350)
MAX_SIZE = 1100
NONCE_SIZE = 12
_RESPONSE = 128
_REQUEST_HEADER = struct.Struct("!BBHI16s")  # version, opcode, reserved, lifetime, client
_RESPONSE_HEADER = struct.Struct("!BBBBII12s")  # ..., result, lifetime, epoch, reserved
_MAP = struct.Struct("!12sB3xHH16s")  # nonce, protocol, internal port, external port, address
_PEER = struct.Struct("!H2x16s")  # remote port, remote address
_OPTION = struct.Struct("!BxH")  # code, length
_FILTER = struct.Struct("!xBH16s")  # prefix length, remote port, remote address


class Opcode(IntEnum):
    """Section 19.1."""

    ANNOUNCE = 0
    MAP = 1
    PEER = 2


class Result(IntEnum):
    """Section 7.4."""

    SUCCESS = 0
    UNSUPP_VERSION = 1
    NOT_AUTHORIZED = 2
    MALFORMED_REQUEST = 3
    UNSUPP_OPCODE = 4
    UNSUPP_OPTION = 5
    MALFORMED_OPTION = 6
    NETWORK_FAILURE = 7
    NO_RESOURCES = 8
    UNSUPP_PROTOCOL = 9
    USER_EX_QUOTA = 10
    CANNOT_PROVIDE_EXTERNAL = 11
    ADDRESS_MISMATCH = 12
    EXCESSIVE_REMOTE_PEERS = 13


_ERRORS: dict[int, type[RefusedError]] = {
    Result.NOT_AUTHORIZED: NotAuthorizedError,
    Result.MALFORMED_REQUEST: MalformedRequestError,
    Result.UNSUPP_OPCODE: UnsupportedRequestError,
    Result.UNSUPP_OPTION: UnsupportedRequestError,
    Result.MALFORMED_OPTION: MalformedRequestError,
    Result.NETWORK_FAILURE: NetworkFailureError,
    Result.NO_RESOURCES: NoResourcesError,
    Result.UNSUPP_PROTOCOL: UnsupportedRequestError,
    Result.USER_EX_QUOTA: QuotaError,
    Result.CANNOT_PROVIDE_EXTERNAL: ConflictError,
    Result.ADDRESS_MISMATCH: AddressMismatchError,
    Result.EXCESSIVE_REMOTE_PEERS: TooManyPeersError,
}


class OptionCode(IntEnum):
    """Section 19.4."""

    THIRD_PARTY = 1
    PREFER_FAILURE = 2
    FILTER = 3


@dataclass(frozen=True)
class ThirdParty:
    """The mapping is for another internal host (section 13.1)."""

    internal: Address


@dataclass(frozen=True)
class PreferFailure:
    """Rather no mapping than another external endpoint (section 13.2)."""


@dataclass(frozen=True)
class Filter:
    """Only this remote network may use the mapping; port 0 is any (section 13.3).

    `prefix` counts bits of the 128 of an IPv6 address, an IPv4 one being mapped into it;
    0 removes all filters.
    """

    prefix: int
    remote: Endpoint


@dataclass(frozen=True)
class UnknownOption:
    """One that we have no name for."""

    code: int
    data: bytes


Option = ThirdParty | PreferFailure | Filter | UnknownOption


@dataclass(frozen=True)
class Announce:
    """Is there a server, and what is its epoch?  (Section 14.1.)"""


@dataclass(frozen=True)
class Map:
    """A mapping for whoever comes; the nonce names it for its whole life (section 11)."""

    nonce: bytes
    wanted: Wanted
    external_address: Address = ANY
    options: tuple[Option, ...] = ()


@dataclass(frozen=True)
class Peer:
    """A mapping for traffic with one remote peer (section 12)."""

    nonce: bytes
    wanted: Wanted
    remote: Endpoint
    external_address: Address = ANY
    options: tuple[Option, ...] = ()


Request = Announce | Map | Peer


@dataclass(frozen=True)
class Granted:
    """The body of an answer to MAP or PEER; of an error it is the request's own.

    `protocol` is IANA's number; `remote` is None for MAP.
    """

    nonce: bytes
    protocol: int
    internal_port: int
    external: Endpoint
    remote: Endpoint | None
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Response:
    """An answer or an announcement, which has no body.  Times are seconds."""

    opcode: Opcode
    result: int
    lifetime: int
    epoch: int
    body: Granted | None


def opcode_of(request: Request) -> Opcode:
    """The request's opcode."""
    if isinstance(request, Announce):
        return Opcode.ANNOUNCE
    return Opcode.MAP if isinstance(request, Map) else Opcode.PEER


def encode(request: Request, client: Address) -> bytes:
    """The datagram; `client` is the address that the server will see it come from."""
    lifetime = 0 if isinstance(request, Announce) else request.wanted.lifetime
    head = _REQUEST_HEADER.pack(VERSION, opcode_of(request), 0, lifetime, _packed(client))
    if isinstance(request, Announce):
        return head
    wanted = request.wanted
    body = _MAP.pack(
        request.nonce, wanted.transport.number, wanted.internal_port, wanted.external_port,
        _packed(request.external_address),
    )  # fmt: skip
    if isinstance(request, Peer):
        body += _PEER.pack(request.remote.port, _packed(request.remote.address))
    return head + body + encode_options(request.options)


def encode_options(options: tuple[Option, ...]) -> bytes:
    """Options, each padded to four bytes (section 7.3)."""
    return b"".join(map(_encode_option, options))


def _encode_option(option: Option) -> bytes:
    match option:
        case ThirdParty(internal):
            code, data = int(OptionCode.THIRD_PARTY), _packed(internal)
        case PreferFailure():
            code, data = int(OptionCode.PREFER_FAILURE), b""
        case Filter(prefix, remote):
            code = int(OptionCode.FILTER)
            data = _FILTER.pack(prefix, remote.port, _packed(remote.address))
        case UnknownOption(code, data):
            pass
    return _OPTION.pack(code, len(data)) + data + bytes(-len(data) % 4)


def decode_options(data: bytes) -> tuple[Option, ...]:
    """Read options.  Raises ProtocolError."""
    options: list[Option] = []
    while data:
        if len(data) < _OPTION.size:
            raise ProtocolError("pcp", "an option is cut short")
        code, length = _OPTION.unpack_from(data)
        end = _OPTION.size + length
        if len(data) < end + -length % 4:
            raise ProtocolError("pcp", f"option {code} is longer than the message")
        options.append(_decode_option(code, data[_OPTION.size : end]))
        data = data[end + -length % 4 :]
    return tuple(options)


def _decode_option(code: int, data: bytes) -> Option:
    if code == OptionCode.THIRD_PARTY and len(data) == 16:
        return ThirdParty(_unpacked(data))
    if code == OptionCode.PREFER_FAILURE and not data:
        return PreferFailure()
    if code == OptionCode.FILTER and len(data) == _FILTER.size:
        prefix, port, address = _FILTER.unpack(data)
        if prefix > 128:
            raise ProtocolError("pcp", f"a prefix of {prefix} bits")
        return Filter(prefix, Endpoint(_unpacked(address), port))
    if code in OptionCode._value2member_map_:
        raise ProtocolError("pcp", f"option {OptionCode(code).name} of {len(data)} bytes")
    return UnknownOption(code, data)


def decode_response(data: bytes) -> Response:
    """Read an answer as section 8.3 says.  Raises ProtocolError for all that it discards."""
    if len(data) < _RESPONSE_HEADER.size or len(data) > MAX_SIZE or len(data) % 4:
        raise ProtocolError("pcp", f"no answer has {len(data)} bytes")
    version, code, _, result, lifetime, epoch, _ = _RESPONSE_HEADER.unpack_from(data)
    if version != VERSION or code - _RESPONSE not in Opcode._value2member_map_:
        raise ProtocolError("pcp", f"not an answer: version {version}, opcode {code}")
    opcode = Opcode(code - _RESPONSE)
    body = _decode_body(opcode, data[_RESPONSE_HEADER.size :])
    return Response(opcode, result, lifetime, epoch, body)


def _decode_body(opcode: Opcode, data: bytes) -> Granted | None:
    if opcode is Opcode.ANNOUNCE:
        return None
    size = _MAP.size + (_PEER.size if opcode is Opcode.PEER else 0)
    if len(data) < size:
        raise ProtocolError("pcp", f"a body of {opcode.name} has {size} bytes, not {len(data)}")
    nonce, protocol, internal, external, address = _MAP.unpack_from(data)
    remote = None
    if opcode is Opcode.PEER:
        port, peer = _PEER.unpack_from(data, _MAP.size)
        remote = Endpoint(_unpacked(peer), port)
    options = decode_options(data[size:])
    at = Endpoint(_unpacked(address), external)
    return Granted(nonce, protocol, internal, at, remote, options)


def refusal(response: Response) -> RefusedError:
    """The error for a result code, with the time that it holds (section 7.4)."""
    result = response.result
    name = Result(result).name if result in Result._value2member_map_ else "an unknown result"
    if result == Result.UNSUPP_VERSION:
        return UnsupportedVersionError(Service.PCP, result, name, offers=VERSION)
    return _ERRORS.get(result, RefusedError)(Service.PCP, result, name, response.lifetime)


def _packed(address: Address) -> bytes:
    """Sixteen bytes; IPv4 is mapped into IPv6 (section 5)."""
    if isinstance(address, IPv6Address):
        return address.packed
    return bytes(10) + b"\xff\xff" + address.packed


def _unpacked(data: bytes) -> Address:
    address = IPv6Address(data)
    return address.ipv4_mapped or address
