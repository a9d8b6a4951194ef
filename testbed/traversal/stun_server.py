"""A STUN server's decisions: Binding (RFC 8489), and what RFC 5780 asks of two addresses.

Without sockets: a request and where it came in become an answer, and whence it leaves.
"""

from dataclasses import dataclass

from . import stun
from .errors import ProtocolError
from .stun import Address, Attribute, Class, Message

_KNOWN = {
    Attribute.MAPPED_ADDRESS,
    Attribute.CHANGE_REQUEST,
    Attribute.XOR_MAPPED_ADDRESS,
    Attribute.PADDING,
    Attribute.RESPONSE_PORT,
}
_PLAIN = _KNOWN - {Attribute.CHANGE_REQUEST, Attribute.PADDING, Attribute.RESPONSE_PORT}
UNKNOWN_ATTRIBUTE = 420
BAD_REQUEST = 400


@dataclass(frozen=True)
class Answer:
    """``data`` is to leave from ``source`` to ``destination``."""

    data: bytes
    source: Address
    destination: Address


@dataclass(frozen=True)
class Addresses:
    """The server's ``primary`` and, for RFC 5780, an ``other`` with both parts different."""

    primary: Address
    other: Address | None = None

    def __post_init__(self) -> None:
        other = self.other
        if other and (other[0] == self.primary[0] or other[1] == self.primary[1]):
            raise ValueError("RFC 5780 section 6: the other address differs in IP and in port")

    @property
    def all(self) -> tuple[Address, ...]:
        """Every address to listen on: one, or all four combinations."""
        if self.other is None:
            return (self.primary,)
        ends = (self.primary, self.other)
        return tuple((ip, port) for ip, _ in ends for _, port in ends)

    def opposite(self, local: Address, change: int) -> Address:
        """``local`` with its IP, its port, or both exchanged for the other one."""
        assert self.other is not None  # who calls it has asked
        ip, port = local
        if change & stun.CHANGE_IP:
            ip = self.other[0] if ip == self.primary[0] else self.primary[0]
        if change & stun.CHANGE_PORT:
            port = self.other[1] if port == self.primary[1] else self.primary[1]
        return ip, port


def answer(data: bytes, source: Address, local: Address, addresses: Addresses) -> Answer | None:
    """The answer to what came from ``source`` in at ``local``; None for what is no request."""
    try:
        asked = stun.decode(data)
    except ProtocolError:
        return None
    if (asked.method, asked.klass) != (stun.BINDING, Class.REQUEST):
        return None
    unknown = stun.required(asked, _KNOWN if addresses.other else _PLAIN)
    if unknown:
        return Answer(_refusal(asked, unknown).encode(), local, source)
    change, port = _wish(asked, Attribute.CHANGE_REQUEST), _wish(asked, Attribute.RESPONSE_PORT)
    # Section 7.5: with PADDING the answer would be amplified towards a port of choice.
    if port is not None and asked.value(Attribute.PADDING) is not None:
        return Answer(_error(asked, BAD_REQUEST, "Bad Request").encode(), local, source)
    leaves = addresses.opposite(local, change or 0) if addresses.other else local
    told = _success(asked, source, leaves, local, addresses)
    return Answer(told.encode(), leaves, (source[0], port or source[1]))


def _wish(message: Message, kind: Attribute) -> int | None:
    value = message.value(kind)
    if value is None:
        return None
    return int.from_bytes(value[: 2 if kind is Attribute.RESPONSE_PORT else 4], "big")


def _success(
    asked: Message, source: Address, leaves: Address, local: Address, addresses: Addresses
) -> Message:
    told = [
        (Attribute.XOR_MAPPED_ADDRESS, stun.address_value(source, asked.transaction)),
        (Attribute.MAPPED_ADDRESS, stun.address_value(source)),
    ]
    if addresses.other is not None:
        both = stun.CHANGE_IP | stun.CHANGE_PORT
        opposite = addresses.opposite(local, both)
        told += [
            (Attribute.RESPONSE_ORIGIN, stun.address_value(leaves)),
            (Attribute.OTHER_ADDRESS, stun.address_value(opposite)),
        ]
    return Message(stun.BINDING, Class.SUCCESS, asked.transaction, tuple(told))


def _refusal(asked: Message, unknown: list[int]) -> Message:
    """Section 6.3.1: 420, naming what is not understood."""
    listed = b"".join(number.to_bytes(2, "big") for number in unknown[:64])
    told = _error(asked, UNKNOWN_ATTRIBUTE, "Unknown Attribute")
    extra = (Attribute.UNKNOWN_ATTRIBUTES, listed)
    return Message(told.method, told.klass, told.transaction, (*told.attributes, extra))


def _error(asked: Message, code: int, reason: str) -> Message:
    value = stun.error_value(code, reason)
    return Message(stun.BINDING, Class.ERROR, asked.transaction, ((Attribute.ERROR_CODE, value),))
