"""Statements in libp2p's signed envelopes, each kind under a domain string of its own."""

import hashlib
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

from .. import protobuf
from ..envelope import open_envelope, seal
from ..errors import AddressError, ProtocolError
from ..keys import PrivateKey
from ..peer_id import PeerId

S = TypeVar("S", bound="Statement")


@dataclass(frozen=True)
class Signed(Generic[S]):
    """A statement, who signed it, and the envelope that proves it."""

    value: S
    signer: PeerId
    data: bytes


class Statement(protobuf.Message):
    """Base of what is signed: every field is required, so that none has two meanings."""

    # Without annotations: these are no fields.
    domain = ""
    code = b""

    def seal(self, key: PrivateKey) -> Signed[Self]:
        """The statement, signed."""
        data = seal(key, self.domain, self.code, self.encode())
        return Signed(self, PeerId.from_public_key(key.public), data)

    @classmethod
    def open(cls, data: bytes) -> Signed[Self]:
        """Check the signature and that nothing is missing.  Raises ProtocolError."""
        try:
            opened = open_envelope(data, cls.domain, cls.code)
            value = cls.decode(opened.payload)
            signer = PeerId.from_public_key(opened.signer)
        except AddressError as error:
            raise ProtocolError(cls.domain, str(error)) from error
        demand_all(value, cls.domain)
        return Signed(value, signer, data)

    @property
    def digest(self) -> bytes:
        """What other statements name this one by: not the signature, which may have two forms."""
        return hashlib.sha256(self.encode()).digest()


def demand_all(value: protobuf.Message, name: str) -> None:
    """Raises ProtocolError where a field is missing."""
    missing = [f for f in value.__dataclass_fields__ if getattr(value, f) is None]
    if missing:
        raise ProtocolError(name, f"lacks {', '.join(missing)}")


def peer(multihash: bytes, name: str) -> PeerId:
    """A peer id that a statement names.  Raises ProtocolError."""
    try:
        return PeerId(multihash)
    except AddressError as error:
        raise ProtocolError(name, str(error)) from error


def payload_type(number: int) -> bytes:
    """A payload type of the private range of multicodec, 0x300000 on, as a varint."""
    value, out = 0x300000 + 0x7E47 + number, bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
