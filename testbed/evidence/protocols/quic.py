"""QUIC packets as far as they are in clear: long headers (RFC 9000 section 17.2).

Versions 1 and 2 (RFC 9369), the drafts of version 1, and by the invariants (RFC 8999) the
versions that are reserved to be refused.
"""

import struct
from typing import NamedTuple

from testbed.model.journey import Label

MAX_COALESCED = 16  # packets read of one datagram
MAX_ID_LENGTH = 20  # bytes, RFC 9000 section 17.2
MIN_INITIAL = 1200  # bytes of a datagram with a client's Initial, section 14.1

_VERSION_1, _VERSION_2 = 0x00000001, 0x6B3343CF
_NAMES = {_VERSION_1: "1", _VERSION_2: "2"}
_TYPES = ("Initial", "0-RTT", "Handshake", "Retry")  # RFC 9000, table 5
_TYPES_2 = ("Retry", "Initial", "0-RTT", "Handshake")  # RFC 9369 section 3.2
_NEGOTIATION, _UNKNOWN = "Version Negotiation", "unknown version"
_MAX_VERSIONS = 16


class Header(NamedTuple):
    """One packet's long header.  ``length``: where the next packet begins in the datagram."""

    name: str
    version: int
    destination: bytes
    source: bytes
    length: int
    fields: tuple[tuple[str, str], ...] = ()


def read(data: bytes) -> Label | None:
    """A datagram that begins with a long header: its packets, coalesced (section 12.2)."""
    found = headers(data)
    if not found:
        return None
    names = [header.name for header in found]
    end = sum(header.length for header in found)
    if end < len(data) and is_short(data, end):
        names.append("1-RTT")
    fields = tuple(field for header in found for field in _fields(header))
    return Label("quic", " + ".join(names), fields)


def is_initial(label: Label) -> bool:
    """One Initial packet, and nothing coalesced with it."""
    packets = [value for name, value in label.fields if name == "packet"]
    return packets == ["Initial"] and label.own == packets[0]


def headers(data: bytes) -> list[Header]:
    """The long headers of a datagram, in order; none if it does not begin with one."""
    found: list[Header] = []
    at = 0
    while at < len(data) and len(found) < MAX_COALESCED:
        header = long_header(data[at:] if at else data)
        if header is None:
            break
        if found and header.destination != found[0].destination:
            break  # section 12.2: it is to be ignored; more likely it is none
        found.append(header)
        at += header.length
    return found


def is_short(data: bytes, at: int = 0) -> bool:
    """Header form 0 and the fixed bit (section 17.3.1): a 1-RTT packet, or chance."""
    return len(data) > at and data[at] & 0xC0 == 0x40


def long_header(data: bytes) -> Header | None:
    """The long header at the head of ``data``; None if it is none of a version we know.

    Random bytes pass for one in 1 of 2^32 cases, or thereabouts.
    """
    if len(data) < 7 or not data[0] & 0x80:
        return None
    version = int.from_bytes(data[1:5], "big")
    ids = _connection_ids(data)
    if ids is None:
        return None
    destination, source, at = ids
    if version == 0:
        fields = (("supported versions", _versions(data[at:])),)
        return Header(_NEGOTIATION, version, destination, source, len(data), fields)
    if not _is_known(version):
        # Only a datagram long enough to be answered can be somebody's first.
        reserved = version & 0x0F0F0F0F == 0x0A0A0A0A and len(data) >= MIN_INITIAL
        return Header(_UNKNOWN, version, destination, source, len(data)) if reserved else None
    return _typed(data, version, destination, source, at)


def _is_known(version: int) -> bool:
    draft = version >> 8 == 0xFF0000 and 27 <= version & 0xFF <= 34
    return version in _NAMES or draft


def _connection_ids(data: bytes) -> tuple[bytes, bytes, int] | None:
    """Destination, source, and what comes after; None if they are too long or cut."""
    middle = 6 + data[5]
    if data[5] > MAX_ID_LENGTH or middle >= len(data):
        return None
    end = middle + 1 + data[middle]
    if data[middle] > MAX_ID_LENGTH or end > len(data):
        return None
    return data[6:middle], data[middle + 1 : end], end


def _typed(data: bytes, version: int, destination: bytes, source: bytes, at: int) -> Header | None:
    """The rest of an Initial, 0-RTT, Handshake or Retry packet (sections 17.2.2 to 17.2.5)."""
    types = _TYPES_2 if version == _VERSION_2 else _TYPES
    name = types[data[0] >> 4 & 3]
    if name == "Retry":  # a token and a tag of 16 bytes, without a length
        tag = (("token", f"{max(0, len(data) - at - 16)} bytes"),)
        return Header(name, version, destination, source, len(data), tag)
    fields: tuple[tuple[str, str], ...] = ()
    if name == "Initial":
        token = _varint(data, at)
        if token is None:
            return None
        at = token[1] + token[0]
        fields = (("token", f"{token[0]} bytes"),) if token[0] else ()
    length = _varint(data, at)
    if length is None:
        return None
    return Header(name, version, destination, source, length[1] + length[0], fields)


def _varint(data: bytes, at: int) -> tuple[int, int] | None:
    """Value and end of a variable-length integer (section 16)."""
    if at >= len(data):
        return None
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        return None
    value = int.from_bytes(data[at : at + size], "big")
    return value & (1 << (8 * size - 2)) - 1, at + size


def _versions(data: bytes) -> str:
    whole = data[: min(len(data), 4 * _MAX_VERSIONS) // 4 * 4]
    return " ".join(_version(number) for (number,) in struct.iter_unpack("!I", whole))


def _version(number: int) -> str:
    return _NAMES.get(number, f"0x{number:08x}")


def _fields(header: Header) -> tuple[tuple[str, str], ...]:
    return (
        ("packet", header.name),
        ("version", _version(header.version)),
        ("DCID", header.destination.hex()),
        ("SCID", header.source.hex()),
        *header.fields,
    )
