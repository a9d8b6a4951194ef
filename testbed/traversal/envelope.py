"""Signed envelopes (libp2p RFC 0002) and the peer records they carry (RFC 0003)."""

from dataclasses import dataclass

from . import protobuf, varint
from .errors import ProtocolError
from .keys import PrivateKey, PublicKey
from .multiaddr import Multiaddr, decode_all
from .peer_id import PeerId

PEER_RECORD_DOMAIN = "libp2p-peer-record"
PEER_RECORD_TYPE = bytes([0x03, 0x01])
MAX_BYTES = 8192


@dataclass(frozen=True)
class _Envelope(protobuf.Message):
    public_key: bytes | None = protobuf.blob(1)
    payload_type: bytes | None = protobuf.blob(2)
    payload: bytes | None = protobuf.blob(3)
    signature: bytes | None = protobuf.blob(5)


@dataclass(frozen=True)
class Opened:
    """What a valid envelope held, and whose key signed it."""

    signer: PublicKey
    payload: bytes


def _signed_bytes(domain: str, payload_type: bytes, payload: bytes) -> bytes:
    return b"".join(map(varint.frame, (domain.encode(), payload_type, payload)))


def seal(key: PrivateKey, domain: str, payload_type: bytes, payload: bytes) -> bytes:
    """The envelope's wire form."""
    signature = key.sign(_signed_bytes(domain, payload_type, payload))
    return _Envelope(key.public.encode(), payload_type, payload, signature).encode()


def open_envelope(data: bytes, domain: str, payload_type: bytes) -> Opened:
    """Check the signature and the type.  Raises ProtocolError; AddressError for a bad key."""
    if len(data) > MAX_BYTES:
        raise ProtocolError("envelope", f"{len(data)} bytes")
    envelope = _Envelope.decode(data)
    if envelope.public_key is None or envelope.signature is None:
        raise ProtocolError("envelope", "lacks a key or a signature")
    if envelope.payload_type != payload_type:
        raise ProtocolError("envelope", "payload type is not the expected one")
    signer = PublicKey.decode(envelope.public_key)
    payload = envelope.payload or b""
    if not signer.verify(envelope.signature, _signed_bytes(domain, payload_type, payload)):
        raise ProtocolError("envelope", "signature does not verify")
    return Opened(signer, payload)


@dataclass(frozen=True)
class _AddressInfo(protobuf.Message):
    multiaddr: bytes | None = protobuf.blob(1)


@dataclass(frozen=True)
class _PeerRecord(protobuf.Message):
    peer_id: bytes | None = protobuf.blob(1)
    seq: int | None = protobuf.uint(2)
    addresses: tuple[_AddressInfo, ...] = protobuf.messages(3, _AddressInfo)


@dataclass(frozen=True)
class PeerRecord:
    """A peer's own statement of its addresses; a higher `seq` replaces a lower one."""

    peer: PeerId
    seq: int
    addresses: tuple[Multiaddr, ...]

    def seal(self, key: PrivateKey) -> bytes:
        """The record in an envelope signed by its own peer."""
        infos = tuple(_AddressInfo(a.encode()) for a in self.addresses)
        payload = _PeerRecord(self.peer.multihash, self.seq, infos).encode()
        return seal(key, PEER_RECORD_DOMAIN, PEER_RECORD_TYPE, payload)

    @classmethod
    def open(cls, data: bytes) -> "PeerRecord":
        """Raises ProtocolError when the signer is not the peer the record speaks of."""
        opened = open_envelope(data, PEER_RECORD_DOMAIN, PEER_RECORD_TYPE)
        record = _PeerRecord.decode(opened.payload)
        peer = PeerId.from_public_key(opened.signer)
        if record.peer_id != peer.multihash:
            raise ProtocolError("peer record", "signed by another peer")
        blobs = tuple(info.multiaddr or b"" for info in record.addresses)
        return cls(peer, record.seq or 0, decode_all(blobs))
