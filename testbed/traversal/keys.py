"""Identity keys and their signatures (libp2p peer-ids specification).

Ed25519 is what this library makes; Secp256k1, ECDSA (P-256) and RSA are read,
verified and, since the test vectors hold private keys, signed with too.
"""

from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from . import protobuf
from .errors import AddressError, ProtocolError

# Shorter ones are broken (peer-ids specification); the cost of a check grows with the square of
# the size, and go refuses beyond 8192, too.
RSA_BITS = range(2048, 8193)

type_public = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
type_private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class KeyType(IntEnum):
    """`KeyType` of the key protobuf."""

    RSA = 0
    ED25519 = 1
    SECP256K1 = 2
    ECDSA = 3


@dataclass(frozen=True)
class _KeyMessage(protobuf.Message):
    type: int | None = protobuf.uint(1)
    data: bytes | None = protobuf.blob(2)


class PublicKey:
    """A peer's public key."""

    def __init__(self, kind: KeyType, key: type_public) -> None:
        self.kind = kind
        self._key = key

    @classmethod
    def decode(cls, data: bytes) -> "PublicKey":
        """Parse the `PublicKey` protobuf.  Raises AddressError."""
        try:
            message = _KeyMessage.decode(data)
            kind = KeyType(-1 if message.type is None else message.type)
            return cls(kind, _load_public(kind, message.data or b""))
        except (ValueError, ProtocolError, UnsupportedAlgorithm) as error:
            raise AddressError(f"public key: {error}") from error

    def encode(self) -> bytes:
        """The `PublicKey` protobuf in its deterministic form."""
        if isinstance(self._key, ed25519.Ed25519PublicKey):
            data = self._key.public_bytes_raw()
        else:
            data = _encode_rare(self.kind, self._key)
        return _KeyMessage(self.kind, data).encode()

    def verify(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature was made over the message by this key's owner."""
        try:
            if isinstance(self._key, ed25519.Ed25519PublicKey):
                self._key.verify(signature, message)
            elif isinstance(self._key, rsa.RSAPublicKey):
                self._key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            else:
                self._key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and self.encode() == other.encode()

    def __hash__(self) -> int:
        return hash(self.encode())


class PrivateKey:
    """The key that is a node's identity."""

    def __init__(self, kind: KeyType, key: type_private) -> None:
        self.kind = kind
        self._key = key
        self.public = PublicKey(kind, key.public_key())

    @classmethod
    def generate(cls) -> "PrivateKey":
        """A new Ed25519 key."""
        return cls(KeyType.ED25519, ed25519.Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> "PrivateKey":
        """The Ed25519 key of a 32-byte seed: the same identity on every run."""
        return cls(KeyType.ED25519, ed25519.Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def decode(cls, data: bytes) -> "PrivateKey":
        """Parse the `PrivateKey` protobuf that libp2p stores on disk.  Raises AddressError."""
        try:
            message = _KeyMessage.decode(data)
            kind = KeyType(-1 if message.type is None else message.type)
            return cls(kind, _load_private(kind, message.data or b""))
        except (ValueError, TypeError, ProtocolError, UnsupportedAlgorithm) as error:
            raise AddressError(f"private key: {error}") from error

    def encode(self) -> bytes:
        """The `PrivateKey` protobuf.  Only for Ed25519, the one kind that is generated here."""
        if not isinstance(self._key, ed25519.Ed25519PrivateKey):
            raise AddressError(f"{self.kind.name} private keys are read, not written")
        raw = self._key.private_bytes_raw()
        return _KeyMessage(self.kind, raw + self._key.public_key().public_bytes_raw()).encode()

    def sign(self, message: bytes) -> bytes:
        """A signature in the form the peer-ids specification gives for this kind."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            return self._key.sign(message)
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))


# What reads and writes other keys than Ed25519 takes as long to import as all that Noise needs.


def _encode_rare(kind: KeyType, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if kind is KeyType.SECP256K1:
        return key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _load_public(kind: KeyType, data: bytes) -> type_public:
    if kind is KeyType.ED25519:
        return ed25519.Ed25519PublicKey.from_public_bytes(data)
    if kind is KeyType.SECP256K1:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), data)
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    key = load_der_public_key(data)
    if kind is KeyType.RSA and isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_BITS:
        return key
    if kind is KeyType.ECDSA and isinstance(key, ec.EllipticCurvePublicKey):
        return key
    raise ValueError(f"not an acceptable {kind.name} key")


def _load_private(kind: KeyType, data: bytes) -> type_private:
    if kind is KeyType.ED25519:
        if len(data) not in (64, 96) or data[32:64] != data[-32:]:
            raise ValueError("Ed25519 private key of an unknown form")
        return ed25519.Ed25519PrivateKey.from_private_bytes(data[:32])
    if kind is KeyType.SECP256K1:
        return ec.derive_private_key(int.from_bytes(data, "big"), ec.SECP256K1())
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    key = load_der_private_key(data, password=None)
    if kind is KeyType.RSA and isinstance(key, rsa.RSAPrivateKey):
        return key
    if kind is KeyType.ECDSA and isinstance(key, ec.EllipticCurvePrivateKey):
        return key
    raise ValueError(f"not an acceptable {kind.name} key")
