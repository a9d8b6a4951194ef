"""Identify and identify push: the message, and what it means (libp2p identify spec)."""

from dataclasses import dataclass, field

from . import protobuf
from .envelope import PeerRecord
from .errors import AddressError, ProtocolError
from .keys import PublicKey
from .multiaddr import Multiaddr, decode_all
from .peer_id import PeerId

PROTOCOL = "/ipfs/id/1.0.0"
PUSH_PROTOCOL = "/ipfs/id/push/1.0.0"
MAX_MESSAGE = 8192
_MAX_PROTOCOLS = 256


@dataclass(frozen=True)
class _Identify(protobuf.Message):
    public_key: bytes | None = protobuf.blob(1)
    listen_addrs: tuple[bytes, ...] = protobuf.blobs(2)
    protocols: tuple[str, ...] = protobuf.texts(3)
    observed_addr: bytes | None = protobuf.blob(4)
    protocol_version: str | None = protobuf.text(5)
    agent_version: str | None = protobuf.text(6)
    signed_peer_record: bytes | None = protobuf.blob(8)


@dataclass(frozen=True)
class PeerInfo:
    """What a peer says of itself; `observed` is how it sees us.

    A push may leave fields out: those are empty or None here, and `merged` keeps
    the older value for them.  `sequence` is that of the signed record, 0 without one.
    """

    peer: PeerId
    addresses: tuple[Multiaddr, ...] = ()
    protocols: frozenset[str] = frozenset()
    observed: Multiaddr | None = None
    agent: str = ""
    protocol_version: str = ""
    sequence: int = field(default=0, compare=False)

    def merged(self, older: "PeerInfo | None") -> "PeerInfo":
        """This information, with the older one's where this is silent.

        The addresses of an older signed record, and unsigned ones after a signed record, do not
        replace those of a newer one (RFC 0003): they may be replayed.
        """
        if older is None:
            return self
        outdated = self.sequence < older.sequence
        return PeerInfo(
            self.peer,
            older.addresses if outdated else self.addresses or older.addresses,
            self.protocols or older.protocols,
            self.observed or older.observed,
            self.agent or older.agent,
            self.protocol_version or older.protocol_version,
            max(self.sequence, older.sequence),
        )


def encode(info: PeerInfo, key: PublicKey, record: bytes | None = None) -> bytes:
    """The Identify message that says `info`; `record` is our sealed peer record."""
    return _Identify(
        public_key=key.encode(),
        listen_addrs=tuple(a.encode() for a in info.addresses),
        protocols=tuple(sorted(info.protocols)),
        observed_addr=info.observed.encode() if info.observed else None,
        protocol_version=info.protocol_version,
        agent_version=info.agent,
        signed_peer_record=record,
    ).encode()


def decode(data: bytes, peer: PeerId) -> PeerInfo:
    """Parse what `peer` (as the secure channel proved it) sent.  Raises ProtocolError.

    A key or a signed record of someone else is an error; a signed record replaces the
    bare address list.  One that does not open (rust-libp2p seals another type) is passed over.
    """
    message = _Identify.decode(data)
    try:
        if message.public_key is not None:
            key = PublicKey.decode(message.public_key)
            if PeerId.from_public_key(key) != peer:
                raise ProtocolError("identify", "public key of another peer")
        addresses = decode_all(message.listen_addrs)
        record = _open_record(message.signed_peer_record)
        if record is not None:
            if record.peer != peer:
                raise ProtocolError("identify", "signed record of another peer")
            addresses = tuple(a for a in record.addresses if a.is_dialable) or addresses
    except AddressError as error:
        raise ProtocolError("identify", str(error)) from error
    return PeerInfo(
        peer,
        addresses,
        frozenset(message.protocols[:_MAX_PROTOCOLS]),
        next(iter(decode_all((message.observed_addr,))), None) if message.observed_addr else None,
        (message.agent_version or "")[:256],
        (message.protocol_version or "")[:256],
        record.seq if record is not None else 0,
    )


def _open_record(sealed: bytes | None) -> PeerRecord | None:
    if sealed is None:
        return None
    try:
        return PeerRecord.open(sealed)
    except (ProtocolError, AddressError):
        return None
