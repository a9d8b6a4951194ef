"""Multibase: text that says by its first character how its bytes are written.

The bases that peer ids and certificate hashes come in: base16, base32, base36, base58, base64url.
"""

import base64
from collections.abc import Callable

from . import base58
from .errors import AddressError

_MAX_TEXT = 2048
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"


def decode(text: str) -> bytes:
    """The bytes behind the prefix.  Raises AddressError."""
    if not text or len(text) > _MAX_TEXT:
        raise AddressError(f"multibase text of {len(text)} characters")
    reader = _READERS.get(text[0])
    if reader is None:
        raise AddressError(f"unknown multibase prefix {text[0]!r}")
    try:
        return reader(text[1:])
    except ValueError as error:
        raise AddressError(f"multibase: {error}") from error


def encode_base64url(data: bytes) -> str:
    """Base64url without padding, behind its prefix: how go-libp2p writes certificate hashes."""
    return "u" + base64.urlsafe_b64encode(data).decode().rstrip("=")


def _base16(text: str) -> bytes:
    return base64.b16decode(text.upper())


def _base32(text: str) -> bytes:
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))


def _base36(text: str) -> bytes:
    """Leading zeros are zero bytes, as in base58."""
    lower = text.lower()
    number = 0
    for character in lower:
        number = number * 36 + _BASE36.index(character)  # ValueError: not of this alphabet
    zeros = len(lower) - len(lower.lstrip("0"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")


def _base64url(text: str) -> bytes:
    if set(text) & set("+/="):
        raise ValueError("not base64url without padding")
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)


_READERS: dict[str, Callable[[str], bytes]] = {
    "f": _base16, "F": _base16, "b": _base32, "B": _base32, "k": _base36, "K": _base36,
    "z": base58.decode, "u": _base64url,
}  # fmt: skip
