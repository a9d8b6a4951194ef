"""Noise XX over 25519, ChaChaPoly and SHA-256 with the libp2p handshake payload.

Sans-io: `Handshake` until `done`, then `Handshake.channel` seals and opens transport
messages.  The two maintained Noise packages for Python have had no release in years,
and one pattern with one cipher suite is small; the published vectors check it.
Sections named below are of the Noise specification, revision 34.
"""

# ruff: noqa: RUF009 - protobuf.message is a field specifier, like dataclasses.field

import hmac
import struct
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from . import protobuf
from .errors import AddressError, HandshakeError, PeerIdMismatchError, ProtocolError
from .keys import PrivateKey, PublicKey
from .peer_id import PeerId

PROTOCOL = "/noise"
MAX_MESSAGE = 65535
MAX_PLAINTEXT = MAX_MESSAGE - 16
_SUITE = b"Noise_XX_25519_ChaChaPoly_SHA256"
_SIGNED_PREFIX = b"noise-libp2p-static-key:"
_MAX_NONCE = 2**64 - 2


@dataclass(frozen=True)
class _Extensions(protobuf.Message):
    webtransport_certhashes: tuple[bytes, ...] = protobuf.blobs(1)
    stream_muxers: tuple[str, ...] = protobuf.texts(2)


@dataclass(frozen=True)
class _Payload(protobuf.Message):
    identity_key: bytes | None = protobuf.blob(1)
    identity_sig: bytes | None = protobuf.blob(2)
    extensions: _Extensions | None = protobuf.message(4, _Extensions)


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

    def split(self) -> tuple[CipherState, CipherState]:
        """The ciphers of the initiator and of the responder."""
        first, second = _hkdf(self._chaining_key, b"")
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
        static = self.state.encrypt(_raw(self._static))
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
        static = self.state.encrypt(_raw(self._static))
        self._mix(self._static, self._remote_ephemeral)
        return static + self.state.encrypt(payload)

    def read_3(self, message: bytes) -> bytes:
        """Responder: s, se."""
        self.remote_static = self.state.decrypt(message[:48])
        self._mix(self._ephemeral, self.remote_static)
        return self.state.decrypt(message[48:])

    def _write_ephemeral(self) -> bytes:
        public = _raw(self._ephemeral)
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


def _raw(private: X25519PrivateKey) -> bytes:
    return private.public_key().public_bytes_raw()


class _Messages:
    """Cuts a byte stream into messages behind two-byte lengths."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_message(self) -> bytes | None:
        if len(self._buffer) < 2:
            return None
        end = 2 + int.from_bytes(self._buffer[:2], "big")
        if len(self._buffer) < end:
            return None
        message = bytes(self._buffer[2:end])
        del self._buffer[:end]
        return message


def _framed(message: bytes) -> bytes:
    return struct.pack("!H", len(message)) + message


class Channel:
    """Transport messages after the handshake; at most one message (64 KiB) is buffered."""

    def __init__(self, send: CipherState, receive: CipherState, messages: _Messages) -> None:
        self._send, self._receive, self._messages = send, receive, messages

    def seal(self, data: bytes) -> bytes:
        """Plaintext of any length to wire bytes."""
        out = bytearray()
        for start in range(0, len(data), MAX_PLAINTEXT):
            out += _framed(self._send.encrypt(data[start : start + MAX_PLAINTEXT]))
        return bytes(out)

    def open(self, data: bytes) -> bytes:
        """Wire bytes to the plaintext of every message that is now whole."""
        self._messages.feed(data)
        out = bytearray()
        while (message := self._messages.next_message()) is not None:
            out += self._receive.decrypt(message)
        return bytes(out)


class Handshake:
    """noise-libp2p: XX whose payloads prove the peer ids.

    `muxers` is our list for the stream-muxer extension, in order of preference; after
    the handshake `muxer` is the one both know, or None where the remote sent no list.
    """

    def __init__(
        self,
        identity: PrivateKey,
        *,
        initiator: bool,
        expected: PeerId | None = None,
        muxers: tuple[str, ...] = (),
    ) -> None:
        self._identity, self._expected, self._muxers = identity, expected, muxers
        self._static = X25519PrivateKey.generate()
        self._xx = XX(self._static, X25519PrivateKey.generate())
        self._messages = _Messages()
        self._out = bytearray(_framed(self._xx.write_1())) if initiator else bytearray()
        self._initiator = initiator
        # What to do with the next message; empty when done.
        self._steps = [self._on_2] if initiator else [self._on_1, self._on_3]
        self.channel: Channel | None = None
        self.remote_peer: PeerId | None = None
        self.muxer: str | None = None

    @property
    def done(self) -> bool:
        """Whether the channel is ready (write `data_to_send` first)."""
        return self.channel is not None

    @property
    def trailing_data(self) -> bytes:
        """Always empty: the channel keeps early transport messages; `open(b"")` returns them."""
        return b""

    def data_to_send(self) -> bytes:
        """Bytes to write; each is returned once."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive_data(self, data: bytes) -> None:
        """Feed received bytes.  Raises HandshakeError, PeerIdMismatchError or ProtocolError."""
        self._messages.feed(data)
        while self._steps and (message := self._messages.next_message()) is not None:
            self._steps.pop(0)(message)

    def _on_1(self, message: bytes) -> None:
        self._xx.read_1(message)
        self._out += _framed(self._xx.write_2(self._payload()))

    def _on_2(self, message: bytes) -> None:
        self._accept(self._xx.read_2(message))
        self._out += _framed(self._xx.write_3(self._payload()))
        self._finish()

    def _on_3(self, message: bytes) -> None:
        self._accept(self._xx.read_3(message))
        self._finish()

    def _finish(self) -> None:
        ours, theirs = self._xx.state.split()
        if not self._initiator:
            ours, theirs = theirs, ours
        self.channel = Channel(ours, theirs, self._messages)

    def _payload(self) -> bytes:
        signature = self._identity.sign(_SIGNED_PREFIX + _raw(self._static))
        extensions = _Extensions(stream_muxers=self._muxers) if self._muxers else None
        return _Payload(self._identity.public.encode(), signature, extensions).encode()

    def _accept(self, data: bytes) -> None:
        payload = _Payload.decode(data)
        try:
            key = PublicKey.decode(payload.identity_key or b"")
        except AddressError as error:
            raise HandshakeError("noise", str(error)) from error
        if not key.verify(payload.identity_sig or b"", _SIGNED_PREFIX + self._xx.remote_static):
            raise HandshakeError("noise", "identity signature does not verify")
        self.remote_peer = PeerId.from_public_key(key)
        if self._expected not in (None, self.remote_peer):
            raise PeerIdMismatchError("noise", f"is {self.remote_peer}, not {self._expected}")
        theirs = payload.extensions.stream_muxers if payload.extensions else ()
        # The initiator's order decides on both sides.
        first, second = (self._muxers, theirs) if self._initiator else (theirs, self._muxers)
        self.muxer = next((name for name in first if name in second), None)
