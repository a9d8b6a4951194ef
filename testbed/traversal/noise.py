"""noise-libp2p: the Noise XX handshake whose payloads prove peer ids (libp2p noise spec).

Sans-io: `Handshake` until `done`, then `Handshake.channel` seals and opens transport
messages.
"""

# ruff: noqa: RUF009 - protobuf.message is a field specifier, like dataclasses.field

import struct
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from . import protobuf
from .errors import AddressError, HandshakeError, PeerIdMismatchError
from .keys import PrivateKey, PublicKey
from .noise_xx import XX, CipherState, public_bytes
from .peer_id import PeerId

PROTOCOL = "/noise"
MAX_MESSAGE = 65535
MAX_PLAINTEXT = MAX_MESSAGE - 16
_SIGNED_PREFIX = b"noise-libp2p-static-key:"


@dataclass(frozen=True)
class _Extensions(protobuf.Message):
    webtransport_certhashes: tuple[bytes, ...] = protobuf.blobs(1)
    stream_muxers: tuple[str, ...] = protobuf.texts(2)


@dataclass(frozen=True)
class _Payload(protobuf.Message):
    identity_key: bytes | None = protobuf.blob(1)
    identity_sig: bytes | None = protobuf.blob(2)
    extensions: _Extensions | None = protobuf.message(4, _Extensions)


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

    def end(self) -> bytes:
        """Nothing: Noise has no word for the end of a channel."""
        return b""


class Handshake:
    """noise-libp2p: XX whose payloads prove the peer ids.

    `muxers` is our list for the stream-muxer extension, in order of preference; after
    the handshake `muxer` is the one both know, or None where the remote sent no list.
    `key_log` is told how to read the channel: `NOISE`, the initiator's ephemeral key, and the keys
    of what the initiator and the responder send, in hex.
    """

    def __init__(
        self,
        identity: PrivateKey,
        *,
        initiator: bool,
        expected: PeerId | None = None,
        muxers: tuple[str, ...] = (),
        key_log: Callable[[str], None] | None = None,
    ) -> None:
        self._identity, self._expected, self._muxers = identity, expected, muxers
        self._static = X25519PrivateKey.generate()
        self._xx = XX(self._static, X25519PrivateKey.generate())
        self._messages = _Messages()
        self._out = bytearray(_framed(self._xx.write_1())) if initiator else bytearray()
        self._initiator, self._key_log = initiator, key_log
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
        if self._key_log is not None:
            first = self._xx.ephemerals[0 if self._initiator else 1]
            words = (word.hex() for word in (first, *self._xx.state.keys()))
            self._key_log(" ".join(("NOISE", *words)))
        ours, theirs = self._xx.state.split()
        if not self._initiator:
            ours, theirs = theirs, ours
        self.channel = Channel(ours, theirs, self._messages)

    def _payload(self) -> bytes:
        signature = self._identity.sign(_SIGNED_PREFIX + public_bytes(self._static))
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
        if self._muxers and theirs and not set(self._muxers) & set(theirs):
            # Falling back to multistream would hide that somebody tampered with the lists.
            raise HandshakeError("noise", f"no muxer in common with {theirs[:8]}")
        # The initiator's order decides on both sides.
        first, second = (self._muxers, theirs) if self._initiator else (theirs, self._muxers)
        self.muxer = next((name for name in first if name in second), None)
