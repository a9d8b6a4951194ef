"""STUN messages (RFC 8489), and the attributes of behaviour discovery (RFC 5780).

Bytes in, values out.  Credentials are left to TURN's library: a Binding needs none.
"""

import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

from .errors import ProtocolError

MAGIC_COOKIE = 0x2112A442
BINDING = 0x001
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_FINGERPRINT_XOR = 0x5354554E  # section 14.7
_LARGEST = 1500  # bytes of a message that we read; section 6.1 asks for less
_FAMILIES = {1: (IPv4Address, 4), 2: (IPv6Address, 16)}

Address = tuple[str, int]


class Class(IntEnum):
    """Section 5: what kind of message."""

    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


class Attribute(IntEnum):
    """Those that Binding and RFC 5780 use.  Below 0x8000 they must be understood."""

    MAPPED_ADDRESS = 0x0001
    CHANGE_REQUEST = 0x0003
    ERROR_CODE = 0x0009
    UNKNOWN_ATTRIBUTES = 0x000A
    XOR_MAPPED_ADDRESS = 0x0020
    PADDING = 0x0026
    RESPONSE_PORT = 0x0027
    SOFTWARE = 0x8022
    FINGERPRINT = 0x8028
    RESPONSE_ORIGIN = 0x802B
    OTHER_ADDRESS = 0x802C


CHANGE_IP, CHANGE_PORT = 0x04, 0x02  # RFC 5780 section 7.2


def new_transaction() -> bytes:
    """Twelve random octets (section 5)."""
    return os.urandom(12)


@dataclass(frozen=True)
class Message:
    """One message.  ``attributes`` keep their order; of a repeated one the first counts."""

    method: int
    klass: Class
    transaction: bytes = field(default_factory=new_transaction)
    attributes: tuple[tuple[int, bytes], ...] = ()

    def value(self, kind: Attribute) -> bytes | None:
        return next((value for number, value in self.attributes if number == kind), None)

    def address(self, kind: Attribute) -> Address | None:
        """The address in an attribute; None where it is absent or says nothing readable."""
        value = self.value(kind)
        if value is None:
            return None
        pad = _pad(self.transaction) if kind is Attribute.XOR_MAPPED_ADDRESS else bytes(16)
        return _read_address(value, pad)

    @property
    def mapped(self) -> Address | None:
        """How the server saw us; XOR-MAPPED-ADDRESS first, as meddling NATs leave it alone."""
        xor = self.address(Attribute.XOR_MAPPED_ADDRESS)
        return xor or self.address(Attribute.MAPPED_ADDRESS)

    @property
    def error(self) -> int | None:
        """The code of section 14.8, for example 420; None where there is none."""
        value = self.value(Attribute.ERROR_CODE)
        if value is None or len(value) < 4 or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
            return None
        return (value[2] & 7) * 100 + value[3]

    def encode(self) -> bytes:
        """The bytes, with a FINGERPRINT (section 14.7) at the end."""
        body = b"".join(
            _ATTRIBUTE.pack(kind, len(value)) + value + bytes(-len(value) % 4)
            for kind, value in self.attributes
        )
        kind = _kind(self.method, self.klass)
        head = _HEADER.pack(kind, len(body) + 8, MAGIC_COOKIE, self.transaction)
        check = zlib.crc32(head + body) ^ _FINGERPRINT_XOR
        return head + body + _ATTRIBUTE.pack(Attribute.FINGERPRINT, 4) + check.to_bytes(4, "big")


def decode(data: bytes) -> Message:
    """The message in one datagram; ProtocolError for whatever else ``data`` is."""
    if not _HEADER.size <= len(data) <= _LARGEST:
        raise ProtocolError("stun", f"{len(data)} bytes are no message")
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if kind & 0xC000 or cookie != MAGIC_COOKIE or length % 4 or len(data) != length + _HEADER.size:
        raise ProtocolError("stun", "not a STUN message")
    attributes: list[tuple[int, bytes]] = []
    at = _HEADER.size
    while at < len(data):
        number, size = _ATTRIBUTE.unpack_from(data, at)
        value = data[at + _ATTRIBUTE.size : at + _ATTRIBUTE.size + size]
        if len(value) != size:
            raise ProtocolError("stun", "an attribute is longer than the message")
        if number == Attribute.FINGERPRINT:
            _check_fingerprint(data[:at], value)
        attributes.append((number, value))
        at += _ATTRIBUTE.size + size + -size % 4
    method = kind & 0x000F | (kind & 0x00E0) >> 1 | (kind & 0x3E00) >> 2
    klass = Class((kind & 0x0010) >> 4 | (kind & 0x0100) >> 7)
    return Message(method, klass, transaction, tuple(attributes))


def request(*, change: int = 0, response_port: int | None = None) -> Message:
    """A Binding request; ``change`` of `CHANGE_IP` and `CHANGE_PORT` asks for another sender."""
    attributes: list[tuple[int, bytes]] = []
    if change:
        attributes.append((Attribute.CHANGE_REQUEST, change.to_bytes(4, "big")))
    if response_port is not None:
        attributes.append((Attribute.RESPONSE_PORT, response_port.to_bytes(2, "big")))
    return Message(BINDING, Class.REQUEST, attributes=tuple(attributes))


def address_value(address: Address, transaction: bytes | None = None) -> bytes:
    """An address attribute's value; XORed (section 14.2) where a transaction is given."""
    pad = _pad(transaction) if transaction is not None else bytes(16)
    ip = ip_address(address[0]).packed
    family = 1 if len(ip) == 4 else 2
    port = address[1].to_bytes(2, "big")
    return bytes((0, family)) + _xor(port, pad) + _xor(ip, pad)


def error_value(code: int, reason: str) -> bytes:
    """ERROR-CODE's value (section 14.8)."""
    return bytes((0, 0, code // 100, code % 100)) + reason.encode()


def required(message: Message, known: Iterable[int]) -> list[int]:
    """Attributes that must be understood (section 14) and are not in ``known``."""
    understood = set(known)
    return [n for n, _ in message.attributes if n < 0x8000 and n not in understood]


def _kind(method: int, klass: Class) -> int:
    """Section 5: the class's two bits lie between those of the method."""
    spread = method & 0x000F | (method & 0x0070) << 1 | (method & 0x0F80) << 2
    return spread | (klass & 1) << 4 | (klass & 2) << 7


def _check_fingerprint(covered: bytes, value: bytes) -> None:
    # The length counts the FINGERPRINT, which is the last attribute.
    if value != (zlib.crc32(covered) ^ _FINGERPRINT_XOR).to_bytes(4, "big"):
        raise ProtocolError("stun", "the fingerprint does not match")


def _pad(transaction: bytes) -> bytes:
    return MAGIC_COOKIE.to_bytes(4, "big") + transaction


def _xor(data: bytes, pad: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(data, pad, strict=False))


def _read_address(value: bytes, pad: bytes) -> Address | None:
    if len(value) < 4 or value[1] not in _FAMILIES:
        return None
    kind, size = _FAMILIES[value[1]]
    if len(value) != 4 + size:
        return None
    port = int.from_bytes(_xor(value[2:4], pad), "big")
    return str(kind(_xor(value[4:], pad))), port
