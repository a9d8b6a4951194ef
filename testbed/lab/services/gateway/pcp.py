"""PCP version 2 (RFC 6887): ANNOUNCE and MAP, with PREFER_FAILURE."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from .settings import UNKNOWN, Settings
from .table import TCP, UDP, Entry, Table

VERSION = 2
ANNOUNCE, MAP = 0, 1
SUCCESS, UNSUPP_VERSION, NOT_AUTHORIZED, MALFORMED_REQUEST, UNSUPP_OPCODE = 0, 1, 2, 3, 4
UNSUPP_OPTION, MALFORMED_OPTION, NETWORK_FAILURE, NO_RESOURCES, UNSUPP_PROTOCOL = 5, 6, 7, 8, 9
CANNOT_PROVIDE_EXTERNAL, ADDRESS_MISMATCH = 11, 12
PREFER_FAILURE = 2
LONGEST = 1100  # bytes of a message
_RESPONSE, _HEADER, _MAP = 128, 24, 36
_OPTIONAL = 128  # from this code on, a server may ignore an option
_SHORT, _LONG = 30, 1800  # seconds that an error holds (section 7.4)
_LASTING = {UNSUPP_VERSION, UNSUPP_OPCODE, UNSUPP_OPTION, UNSUPP_PROTOCOL, MALFORMED_REQUEST}


class RefusedError(Exception):
    """The result that the request ends with."""

    def __init__(self, result: int) -> None:
        super().__init__(result)
        self.result = result


@dataclass(frozen=True)
class _Map:
    """A request for a mapping; ``address`` is the external one that is suggested."""

    nonce: bytes
    protocol: int
    internal: int
    external: int
    address: IPv6Address
    lifetime: int
    client: IPv4Address
    strict: bool  # PREFER_FAILURE


def answer(
    settings: Settings, table: Table, data: bytes, client: IPv4Address, now: float, epoch: int
) -> bytes | None:
    """To a request of at least two bytes; None where none is due (section 8.3)."""
    if data[1] & _RESPONSE:
        return None
    try:
        lifetime, body = _served(settings, table, data, client, now)
        return _head(data[1], SUCCESS, lifetime, epoch) + body
    except RefusedError as error:
        holds = _LONG if error.result in _LASTING else _SHORT
        return _head(data[1], error.result, holds, epoch) + _copied(data)


def announcement(epoch: int) -> bytes:
    """To all hosts, of a start (section 14.1.3)."""
    return _head(ANNOUNCE, SUCCESS, 0, epoch)


def _head(opcode: int, result: int, lifetime: int, epoch: int) -> bytes:
    return struct.pack("!BBBBII12x", VERSION, _RESPONSE | opcode & 127, 0, result, lifetime, epoch)


def _copied(data: bytes) -> bytes:
    """What an error gives back of its request: all behind the header, if that is well formed."""
    whole = data[0] == VERSION and _HEADER <= len(data) <= LONGEST and len(data) % 4 == 0
    return data[_HEADER:] if whole else b""


def _served(
    settings: Settings, table: Table, data: bytes, client: IPv4Address, now: float
) -> tuple[int, bytes]:
    """The lifetime and the body of a success."""
    if data[0] != VERSION:
        raise RefusedError(UNSUPP_VERSION)
    if len(data) < _HEADER or len(data) > LONGEST or len(data) % 4:
        raise RefusedError(MALFORMED_REQUEST)
    lifetime, address = struct.unpack_from("!I16s", data, 4)
    if IPv6Address(address).ipv4_mapped != client:
        raise RefusedError(ADDRESS_MISMATCH)
    if data[1] == ANNOUNCE:
        return 0, b""
    if data[1] != MAP:
        raise RefusedError(UNSUPP_OPCODE)
    if len(data) < _HEADER + _MAP:
        raise RefusedError(MALFORMED_REQUEST)
    request = _request(settings, data, lifetime, client)
    entry = _mapped(settings, table, request, now) if lifetime else _ended(settings, table, request)
    external, told = (entry.external_port, settings.told) if entry else (request.external, UNKNOWN)
    body = struct.pack(
        "!12sB3xHH16s",
        request.nonce,
        request.protocol,
        request.internal,
        external,
        IPv6Address(f"::ffff:{told}").packed,
    )
    option = struct.pack("!BxH", PREFER_FAILURE, 0) if request.strict else b""
    return (settings.lease(lifetime) if lifetime else 0), body + option


def _request(settings: Settings, data: bytes, lifetime: int, client: IPv4Address) -> _Map:
    nonce, protocol, internal, external, address = struct.unpack_from("!12sB3xHH16s", data, _HEADER)
    if protocol not in (UDP, TCP):
        raise RefusedError(UNSUPP_PROTOCOL)
    if internal == 0:
        raise RefusedError(MALFORMED_REQUEST)
    strict = False
    for code, content in _options(data[_HEADER + _MAP :]):
        if code == PREFER_FAILURE:
            if content or (external, lifetime > 0) == (0, True):
                raise RefusedError(MALFORMED_OPTION)
            strict = settings.prefer_failure
        elif code < _OPTIONAL:
            raise RefusedError(UNSUPP_OPTION)
    wanted = IPv6Address(address)
    return _Map(nonce, protocol, internal, external, wanted, lifetime, client, strict)


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Section 7.3: code, length, content, padded to four bytes."""
    while data:
        code, length = struct.unpack_from("!BxH", data)
        if 4 + length > len(data):
            raise RefusedError(MALFORMED_OPTION)
        yield code, data[4 : 4 + length]
        data = data[4 + (length + 3) // 4 * 4 :]


def _owned(settings: Settings, table: Table, request: _Map) -> Entry | None:
    """The mapping of the endpoint, which the same nonce alone may touch (section 11.3)."""
    entry = table.of(request.protocol, request.client, request.internal)
    if entry is not None and settings.nonce and entry.nonce != request.nonce:
        raise RefusedError(NOT_AUTHORIZED)
    return entry


def _mapped(settings: Settings, table: Table, request: _Map, now: float) -> Entry:
    if not settings.grants:
        raise RefusedError(NETWORK_FAILURE)
    wanted = request.external or request.internal
    entry = _owned(settings, table, request)
    external = (
        entry.external_port if entry else table.free(request.protocol, wanted, request.client)
    )
    if external is None:
        raise RefusedError(NO_RESOURCES)
    other = request.address.ipv4_mapped not in (None, UNKNOWN, IPv4Address(settings.external))
    if request.strict and (external != wanted or other):
        raise RefusedError(CANNOT_PROVIDE_EXTERNAL)
    until = now + settings.lease(request.lifetime)
    return table.put(
        Entry(
            request.protocol, external, request.client, request.internal, until,
            request.nonce, "PCP",
        )
    )  # fmt: skip


def _ended(settings: Settings, table: Table, request: _Map) -> Entry | None:
    """What is not there is ended (section 15)."""
    entry = _owned(settings, table, request)
    if entry is not None:
        table.remove(entry)
    return None
