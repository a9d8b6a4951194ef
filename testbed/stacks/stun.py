"""The part of STUN that a puncher needs: Binding (RFC 8489), IPv4, no credentials."""

import os
import socket
import struct

MAGIC_COOKIE = 0x2112A442
BINDING_REQUEST = 0x0001
BINDING_RESPONSE = 0x0101
XOR_MAPPED_ADDRESS = 0x0020
_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
HEADER_LENGTH = _HEADER.size
FAMILY_IPV4 = 0x01

# Section 6.2.1, with Rc = 3 and Rm = 3 in place of 7 and 16 (both may be configured):
# requests at 0, 0.5 and 1.5 s, failure at 3 s.
RTO = 0.5  # seconds
REQUEST_COUNT = 3  # Rc
LAST_WAIT = 3  # Rm, in RTOs


def retransmission_waits() -> list[float]:
    """Seconds to wait for an answer after each request, in order."""
    doubling = [RTO * 2**n for n in range(REQUEST_COUNT - 1)]
    return [*doubling, RTO * LAST_WAIT]


def binding_request(transaction: bytes | None = None) -> bytes:
    """A Binding request; its transaction id is octets 8 to 19 (section 5)."""
    return _HEADER.pack(BINDING_REQUEST, 0, MAGIC_COOKIE, transaction or os.urandom(12))


def transaction_of(message: bytes) -> bytes:
    return message[8:HEADER_LENGTH]


def message_length(header: bytes) -> int:
    """The whole length of a message on a stream, from its first 20 octets (or more)."""
    length: int = _HEADER.unpack_from(header)[1]
    return HEADER_LENGTH + length


def mapped_address(message: bytes, transaction: bytes) -> tuple[str, int] | None:
    """The XOR-MAPPED-ADDRESS (section 14.2) of a success response to ``transaction``.

    None for whatever else ``message`` may be: another protocol, another
    transaction, an error response, a truncated message, an IPv6 address.
    """
    if len(message) < HEADER_LENGTH:
        return None
    kind, length, cookie, answered = _HEADER.unpack_from(message)
    if (kind, cookie, answered) != (BINDING_RESPONSE, MAGIC_COOKIE, transaction):
        return None
    if len(message) != HEADER_LENGTH + length:
        return None
    at = HEADER_LENGTH
    while at + _ATTRIBUTE.size <= len(message):
        attribute, size = _ATTRIBUTE.unpack_from(message, at)
        at += _ATTRIBUTE.size
        value = message[at : at + size]
        if attribute == XOR_MAPPED_ADDRESS and len(value) == 8 and value[1] == FAMILY_IPV4:
            port, address = struct.unpack("!HI", value[2:])
            plain = struct.pack("!I", address ^ MAGIC_COOKIE)
            return socket.inet_ntoa(plain), port ^ (MAGIC_COOKIE >> 16)
        at += size + -size % 4
    return None
