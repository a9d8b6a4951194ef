"""Noise XX over 25519, ChaChaPoly and SHA-256: the bare pattern and its cipher states.

The two maintained Noise packages for Python have had no release in years, and one pattern
with one cipher suite is small; the published vectors check it.  Sections named below are
of the Noise specification, revision 34.
"""

import hmac
import struct
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .errors import HandshakeError, ProtocolError

_SUITE = b"Noise_XX_25519_ChaChaPoly_SHA256"
_MAX_NONCE = 2**64 - 2


class CipherState:
    """A key and its counter (section 5.1)."""

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._nonce = 0

    def _next_nonce(self) -> bytes:
        if self._nonce > _MAX_NONCE:
            raise ProtocolError("noise", "nonces are used up")
        nonce = struct.pack("<4xQ", self._nonce)
        self._nonce += 1
        return nonce

    def encrypt(self, plaintext: bytes, associated: bytes = b"") -> bytes:
        """Ciphertext and tag, 16 bytes longer than the plaintext."""
        return self._aead.encrypt(self._next_nonce(), plaintext, associated)

    def decrypt(self, ciphertext: bytes, associated: bytes = b"") -> bytes:
        """Raises ProtocolError when the tag does not fit."""
        try:
            return self._aead.decrypt(self._next_nonce(), ciphertext, associated)
        except InvalidTag as error:
            raise ProtocolError("noise", "message does not authenticate") from error


def _hkdf(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    secret = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(secret, b"\x01", "sha256")
    return first, hmac.digest(secret, first + b"\x02", "sha256")


class SymmetricState:
    """Chaining key, handshake hash and the current cipher (section 5.2)."""

    def __init__(self, prologue: bytes = b"") -> None:
        self.hash = self._chaining_key = _SUITE  # exactly 32 bytes, so not hashed
        self._cipher: CipherState | None = None
        self.mix_hash(prologue)

    def mix_hash(self, data: bytes) -> None:
        """Bind data into the transcript."""
        self.hash = sha256(self.hash + data).digest()

    def mix_key(self, secret: bytes) -> None:
        """Ratchet with a Diffie-Hellman result."""
        self._chaining_key, key = _hkdf(self._chaining_key, secret)
        self._cipher = CipherState(key)

    def encrypt(self, plaintext: bytes) -> bytes:
        """EncryptAndHash."""
        data = self._cipher.encrypt(plaintext, self.hash) if self._cipher else plaintext
        self.mix_hash(data)
        return data

    def decrypt(self, data: bytes) -> bytes:
        """DecryptAndHash."""
        plaintext = self._cipher.decrypt(data, self.hash) if self._cipher else data
        self.mix_hash(data)
        return plaintext

    def keys(self) -> tuple[bytes, bytes]:
        """Those by which the initiator and the responder seal what follows."""
        return _hkdf(self._chaining_key, b"")

    def split(self) -> tuple[CipherState, CipherState]:
        """The ciphers of the initiator and of the responder."""
        first, second = self.keys()
        return CipherState(first), CipherState(second)


class XX:
    """The bare pattern, one method a message; payloads are opaque.

    -> e
    <- e, ee, s, es
    -> s, se
    """

    def __init__(
        self, static: X25519PrivateKey, ephemeral: X25519PrivateKey, prologue: bytes = b""
    ) -> None:
        self._static, self._ephemeral = static, ephemeral
        self.state = SymmetricState(prologue)
        self.remote_static = b""
        self._remote_ephemeral = b""

    @property
    def ephemerals(self) -> tuple[bytes, bytes]:
        """Our own and the remote's, which are seen on the wire."""
        return public_bytes(self._ephemeral), self._remote_ephemeral

    def write_1(self, payload: bytes = b"") -> bytes:
        """Initiator: e."""
        return self._write_ephemeral() + self.state.encrypt(payload)

    def read_1(self, message: bytes) -> bytes:
        """Responder: e."""
        self._read_ephemeral(message)
        return self.state.decrypt(message[32:])

    def write_2(self, payload: bytes) -> bytes:
        """Responder: e, ee, s, es."""
        ephemeral = self._write_ephemeral()
        self._mix(self._ephemeral, self._remote_ephemeral)
        static = self.state.encrypt(public_bytes(self._static))
        self._mix(self._static, self._remote_ephemeral)
        return ephemeral + static + self.state.encrypt(payload)

    def read_2(self, message: bytes) -> bytes:
        """Initiator: e, ee, s, es."""
        self._read_ephemeral(message)
        self._mix(self._ephemeral, self._remote_ephemeral)
        self.remote_static = self.state.decrypt(message[32:80])
        self._mix(self._ephemeral, self.remote_static)
        return self.state.decrypt(message[80:])

    def write_3(self, payload: bytes) -> bytes:
        """Initiator: s, se."""
        static = self.state.encrypt(public_bytes(self._static))
        self._mix(self._static, self._remote_ephemeral)
        return static + self.state.encrypt(payload)

    def read_3(self, message: bytes) -> bytes:
        """Responder: s, se."""
        self.remote_static = self.state.decrypt(message[:48])
        self._mix(self._ephemeral, self.remote_static)
        return self.state.decrypt(message[48:])

    def _write_ephemeral(self) -> bytes:
        public = public_bytes(self._ephemeral)
        self.state.mix_hash(public)
        return public

    def _read_ephemeral(self, message: bytes) -> None:
        if len(message) < 32:
            raise HandshakeError("noise", "message is too short")
        self._remote_ephemeral = message[:32]
        self.state.mix_hash(self._remote_ephemeral)

    def _mix(self, private: X25519PrivateKey, public: bytes) -> None:
        try:
            self.state.mix_key(private.exchange(X25519PublicKey.from_public_bytes(public)))
        except ValueError as error:  # a low-order point, or not 32 bytes
            raise HandshakeError("noise", "unusable public key") from error


def public_bytes(private: X25519PrivateKey) -> bytes:
    """The 32 bytes of its public key."""
    return private.public_key().public_bytes_raw()
