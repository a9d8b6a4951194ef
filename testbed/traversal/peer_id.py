"""Peer ids: the multihash of a public key (libp2p peer-ids specification)."""

import base64
import hashlib
from dataclasses import dataclass

from . import base58, multibase, varint
from .errors import AddressError, ProtocolError
from .keys import PublicKey

_IDENTITY, _SHA256 = 0x00, 0x12
_CID_V1, _LIBP2P_KEY = 0x01, 0x72
_MAX_INLINE = 42


@dataclass(frozen=True, order=True)
class PeerId:
    """A checked multihash: identity of at most 42 bytes, or SHA-256."""

    multihash: bytes

    def __post_init__(self) -> None:
        try:
            code, offset = varint.decode(self.multihash)
            length, offset = varint.decode(self.multihash, offset)
        except (ProtocolError, varint.IncompleteError) as error:
            raise AddressError("peer id is not a multihash") from error
        fits = length == 32 if code == _SHA256 else code == _IDENTITY and length <= _MAX_INLINE
        if not fits or len(self.multihash) != offset + length:
            raise AddressError(f"peer id with hash code {code:#x} and length {length}")

    @classmethod
    def from_public_key(cls, key: PublicKey) -> "PeerId":
        """Inline when the encoded key has at most 42 bytes, else its SHA-256."""
        data = key.encode()
        if len(data) <= _MAX_INLINE:
            return cls(bytes([_IDENTITY, len(data)]) + data)
        return cls(bytes([_SHA256, 32]) + hashlib.sha256(data).digest())

    @classmethod
    def parse(cls, text: str) -> "PeerId":
        """Read base58 (`12D3..`, `Qm..`) or a CIDv1 in any multibase.  Raises AddressError."""
        if text.startswith(("1", "Qm")):
            return cls(base58.decode(text))
        try:
            cid = multibase.decode(text)
        except AddressError as error:
            raise AddressError(f"not a peer id: {text[:64]!r}: {error}") from error
        if cid[:2] != bytes([_CID_V1, _LIBP2P_KEY]):
            raise AddressError("CID is not version 1 with codec libp2p-key")
        return cls(cid[2:])

    def public_key(self) -> PublicKey | None:
        """The key itself where the id holds it inline."""
        return PublicKey.decode(self.multihash[2:]) if self.multihash[0] == _IDENTITY else None

    def to_cid(self) -> str:
        """The base32 CIDv1 form."""
        raw = bytes([_CID_V1, _LIBP2P_KEY]) + self.multihash
        return "b" + base64.b32encode(raw).decode().lower().rstrip("=")

    def short(self) -> str:
        """The last six characters, for logs."""
        return str(self)[-6:]

    def __str__(self) -> str:
        return base58.encode(self.multihash)
