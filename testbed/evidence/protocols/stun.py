"""STUN messages (RFC 8489), with the attributes of TURN, ICE and NAT behaviour discovery."""

import hmac
import struct
import zlib
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

MAGIC_COOKIE = 0x2112A442
HEADER_LENGTH = 20
MAX_ATTRIBUTES = 64  # read of one message; the stacks send a dozen

_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_PORT = struct.Struct("!xBH")
_FINGERPRINT_XOR = 0x5354554E  # RFC 8489 section 14.7
_MESSAGE_INTEGRITY = 0x0008
_MAX_TEXT = 128  # characters kept of a name

METHODS = {
    0x001: "Binding",  # RFC 8489 section 18.2
    0x003: "Allocate",  # RFC 8656 section 17
    0x004: "Refresh",
    0x006: "Send",
    0x007: "Data",
    0x008: "CreatePermission",
    0x009: "ChannelBind",
    0x00A: "Connect",  # RFC 6062 section 6.1
    0x00B: "ConnectionBind",
    0x00C: "ConnectionAttempt",
}
CLASSES = ("request", "indication", "success", "error")


class Message(NamedTuple):
    """A STUN message as its header and attributes say.

    ``length`` is the whole message's by its header, in bytes; ``complete`` says whether
    all of it was there.  ``data`` is the DATA attribute's value (RFC 8656 section 18.4).
    """

    method: str
    kind: str  # one of `CLASSES`
    transaction: bytes
    length: int
    complete: bool
    fields: tuple[tuple[str, str], ...]
    data: bytes | None
    error: int | None = None  # the code

    def field(self, name: str) -> str | None:
        """The first attribute of this name: later ones MUST be ignored (section 14)."""
        return next((value for key, value in self.fields if key == name), None)


def authentic(data: bytes, key: bytes) -> bool:
    """Whether a message has a MESSAGE-INTEGRITY by ``key`` (RFC 8489 section 14.5).

    It is of all before it, by a header that tells of nothing after it.
    """
    at = HEADER_LENGTH
    for _ in range(MAX_ATTRIBUTES):
        if at + _ATTRIBUTE.size > len(data):
            break
        kind, size = _ATTRIBUTE.unpack_from(data, at)
        if kind == _MESSAGE_INTEGRITY:
            length = at + _ATTRIBUTE.size + size - HEADER_LENGTH
            covered = data[:2] + length.to_bytes(2, "big") + data[4:at]
            told = data[at + _ATTRIBUTE.size : at + _ATTRIBUTE.size + size]
            return hmac.compare_digest(hmac.digest(key, covered, "sha1"), told)
        at += _ATTRIBUTE.size + size + -size % 4
    return False


def message(data: bytes) -> Message | None:
    """The message at the head of ``data``; None if it is not STUN (RFC 8489 section 5).

    The magic cookie decides, so a message that was cut short is recognised as well.
    """
    if len(data) < HEADER_LENGTH or data[0] & 0xC0:
        return None
    kind, size, cookie, transaction = _HEADER.unpack_from(data)
    if cookie != MAGIC_COOKIE or size % 4:
        return None
    length = HEADER_LENGTH + size
    fields, carried, error = _attributes(data[:length], transaction)
    return Message(
        METHODS.get(method_of(kind), f"method 0x{method_of(kind):03x}"),
        CLASSES[class_of(kind)],
        transaction,
        length,
        length <= len(data),
        fields,
        carried,
        error,
    )


def method_of(kind: int) -> int:
    """The 12 bits of the method within the message type (RFC 8489 section 5, figure 3)."""
    return kind & 0x000F | (kind & 0x00E0) >> 1 | (kind & 0x3E00) >> 2


def class_of(kind: int) -> int:
    """The 2 bits of the class within the message type (as above)."""
    return (kind & 0x0010) >> 4 | (kind & 0x0100) >> 7


def _attributes(
    message: bytes, transaction: bytes
) -> tuple[tuple[tuple[str, str], ...], bytes | None, int | None]:
    """Those that are whole, in order (RFC 8489 section 14); the value of DATA, the error's code."""
    fields: list[tuple[str, str]] = []
    carried: bytes | None = None
    error: int | None = None
    at = HEADER_LENGTH
    while at + 4 <= len(message) and len(fields) < MAX_ATTRIBUTES:
        code, size = _ATTRIBUTE.unpack_from(message, at)
        value = message[at + 4 : at + 4 + size]
        if len(value) < size:
            break
        name, unpack = _ATTRIBUTES.get(code, (f"attribute 0x{code:04x}", _hexadecimal))
        if code == _FINGERPRINT:
            text = _fingerprint(message[:at], value)
        else:
            text = unpack(value, transaction)
        fields.append((name, f"malformed: {value[:16].hex()}" if text is None else text))
        if code == _DATA and carried is None:
            carried = value
        if code == _ERROR and error is None:
            error = _error_code(value)
        at += 4 + size + -size % 4
    return tuple(fields), carried, error


# Each of these reads one attribute's value; None if it is not what the RFC has there.


def _address(value: bytes, _transaction: bytes) -> str | None:
    """RFC 8489 section 14.1: a family of 1 is IPv4, of 2 IPv6."""
    if len(value) == 8 and value[1] == 1:
        return f"{IPv4Address(value[4:])}:{_PORT.unpack_from(value)[1]}"
    if len(value) == 20 and value[1] == 2:
        return f"[{IPv6Address(value[4:])}]:{_PORT.unpack_from(value)[1]}"
    return None


def _xor_address(value: bytes, transaction: bytes) -> str | None:
    """RFC 8489 section 14.2: the port and the address, exclusive-or the cookie and the id."""
    if len(value) not in (8, 20):
        return None
    pad = MAGIC_COOKIE.to_bytes(4, "big") + transaction
    mask = pad[:2] + pad
    plain = bytes(a ^ b for a, b in zip(value[2:], mask, strict=False))
    return _address(value[:2] + plain, transaction)


def _text(value: bytes, _transaction: bytes) -> str | None:
    """What of it is printable: a terminal is no place for the rest."""
    text = value[:_MAX_TEXT].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else "?" for c in text)


def _number(value: bytes, _transaction: bytes) -> str | None:
    return str(int.from_bytes(value, "big")) if len(value) == 4 else None


def _seconds(value: bytes, _transaction: bytes) -> str | None:
    return f"{int.from_bytes(value, 'big')} s" if len(value) == 4 else None


def _tie_breaker(value: bytes, _transaction: bytes) -> str | None:
    return value.hex() if len(value) == 8 else None


def _flag(value: bytes, _transaction: bytes) -> str | None:
    return "yes" if not value else None


def _hexadecimal(value: bytes, _transaction: bytes) -> str | None:
    return value[:32].hex()


def _size(value: bytes, _transaction: bytes) -> str | None:
    return f"{len(value)} bytes"


def _error(value: bytes, _transaction: bytes) -> str | None:
    """RFC 8489 section 14.8: the hundreds in three bits, the rest in a byte, a phrase."""
    code = _error_code(value)
    return None if code is None else f"{code} {_text(value[4:], b'')}".rstrip()


def _error_code(value: bytes) -> int | None:
    return (value[2] & 7) * 100 + value[3] if len(value) >= 4 else None


def _unknown(value: bytes, _transaction: bytes) -> str | None:
    """RFC 8489 section 14.13: a list of attribute types."""
    pairs = (value[at : at + 2].hex() for at in range(0, min(len(value), 2 * 16), 2))
    return " ".join(f"0x{pair}" for pair in pairs)


def _channel(value: bytes, _transaction: bytes) -> str | None:
    """RFC 8656 section 18.1: the number, then two bytes for later."""
    return f"0x{value[:2].hex()}" if len(value) == 4 else None


def _transport(value: bytes, _transaction: bytes) -> str | None:
    """RFC 8656 section 18.7: an IP protocol number, then three bytes for later."""
    if len(value) != 4:
        return None
    return {6: "TCP", 17: "UDP"}.get(value[0], f"protocol {value[0]}")


def _family(value: bytes, _transaction: bytes) -> str | None:
    """RFC 8656 section 18.6."""
    if len(value) != 4:
        return None
    return {1: "IPv4", 2: "IPv6"}.get(value[0], f"family {value[0]}")


def _change(value: bytes, _transaction: bytes) -> str | None:
    """RFC 5780 section 7.2: bit 2 asks for another address, bit 1 for another port."""
    if len(value) != 4:
        return None
    words = [word for bit, word in ((4, "IP"), (2, "port")) if value[3] & bit]
    return " and ".join(words) or "nothing"


def _fingerprint(before: bytes, value: bytes) -> str | None:
    """RFC 8489 section 14.7: a CRC-32 of the message up to here."""
    if len(value) != 4:
        return None
    right = zlib.crc32(before) ^ _FINGERPRINT_XOR == int.from_bytes(value, "big")
    return "right" if right else "wrong"


_Unpack = Callable[[bytes, bytes], str | None]
_ERROR, _DATA, _FINGERPRINT = 0x0009, 0x0013, 0x8028
_ATTRIBUTES: dict[int, tuple[str, _Unpack]] = {
    0x0001: ("MAPPED-ADDRESS", _address),  # RFC 8489 section 18.3
    0x0003: ("CHANGE-REQUEST", _change),  # RFC 5780 section 9.1
    0x0006: ("USERNAME", _text),
    0x0008: ("MESSAGE-INTEGRITY", _hexadecimal),
    _ERROR: ("ERROR-CODE", _error),
    0x000A: ("UNKNOWN-ATTRIBUTES", _unknown),
    0x000C: ("CHANNEL-NUMBER", _channel),  # RFC 8656 section 18
    0x000D: ("LIFETIME", _seconds),
    0x0012: ("XOR-PEER-ADDRESS", _xor_address),
    _DATA: ("DATA", _size),
    0x0014: ("REALM", _text),
    0x0015: ("NONCE", _text),
    0x0016: ("XOR-RELAYED-ADDRESS", _xor_address),
    0x0017: ("REQUESTED-ADDRESS-FAMILY", _family),
    0x0018: ("EVEN-PORT", _hexadecimal),
    0x0019: ("REQUESTED-TRANSPORT", _transport),
    0x001A: ("DONT-FRAGMENT", _flag),
    0x001C: ("MESSAGE-INTEGRITY-SHA256", _hexadecimal),
    0x001D: ("PASSWORD-ALGORITHM", _hexadecimal),
    0x001E: ("USERHASH", _hexadecimal),
    0x0020: ("XOR-MAPPED-ADDRESS", _xor_address),
    0x0022: ("RESERVATION-TOKEN", _hexadecimal),
    0x0024: ("PRIORITY", _number),  # RFC 8445 section 20.1
    0x0025: ("USE-CANDIDATE", _flag),
    0x0026: ("PADDING", _size),  # RFC 5780
    0x0027: ("RESPONSE-PORT", _hexadecimal),
    0x002A: ("CONNECTION-ID", _number),  # RFC 6062 section 6.2
    0x8002: ("PASSWORD-ALGORITHMS", _hexadecimal),
    0x8003: ("ALTERNATE-DOMAIN", _text),
    0x8022: ("SOFTWARE", _text),
    0x8023: ("ALTERNATE-SERVER", _address),
    _FINGERPRINT: ("FINGERPRINT", _number),
    0x8029: ("ICE-CONTROLLED", _tie_breaker),
    0x802A: ("ICE-CONTROLLING", _tie_breaker),
    0x802B: ("RESPONSE-ORIGIN", _address),  # RFC 5780 section 9.1
    0x802C: ("OTHER-ADDRESS", _address),
}
