"""Base58 as in Bitcoin, the text form of peer ids."""

from .errors import AddressError

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES = {c: i for i, c in enumerate(_ALPHABET)}


def encode(data: bytes) -> str:
    """Leading zero bytes become leading ones."""
    number = int.from_bytes(data, "big")
    out = ""
    while number:
        number, digit = divmod(number, 58)
        out = _ALPHABET[digit] + out
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + out


def decode(text: str) -> bytes:
    """Raises AddressError for a character outside the alphabet or more than 128 of them."""
    if len(text) > 128:
        raise AddressError(f"base58 text of {len(text)} characters")
    number = 0
    for character in text:
        if character not in _VALUES:
            raise AddressError(f"not a base58 character: {character!r}")
        number = number * 58 + _VALUES[character]
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8, "big")
