"""TLS 1.3 over a byte pipe, where certificates prove peer ids (libp2p TLS specification).

Sans-io: OpenSSL between two buffers.  It proves that the remote holds the key of its certificate;
whether that certificate is the one that libp2p wants is for `tls_certificate` to say, since no
authority signs it.  The muxer is agreed on by ALPN (connections/inlined-muxer-negotiation).
"""

from typing import Any

from OpenSSL import SSL

from . import tls_certificate
from .errors import HandshakeError, PeerIdMismatchError
from .keys import PrivateKey
from .peer_id import PeerId

_CHUNK = 1 << 16


class Settings:
    """One certificate and its key, for any number of handshakes in either role."""

    def __init__(self, identity: PrivateKey, muxers: tuple[str, ...]) -> None:
        self._muxers = muxers
        self._context = _context(tls_certificate.make(identity), muxers)

    def handshake(self, *, initiator: bool, expected: PeerId | None = None) -> "Handshake":
        """A new one.  `expected` is the peer that it must turn out to be."""
        return Handshake(self._context, self._muxers, initiator=initiator, expected=expected)


class Handshake:
    """`security.Handshake` by TLS.  `muxer` is None where multistream-select is to agree on one."""

    def __init__(
        self,
        context: SSL.Context,
        muxers: tuple[str, ...],
        *,
        initiator: bool,
        expected: PeerId | None = None,
    ) -> None:
        self._expected, self._muxers = expected, muxers
        self._connection = SSL.Connection(context, None)
        self.channel: Channel | None = None
        self.remote_peer: PeerId | None = None
        self.muxer: str | None = None
        if initiator:
            self._connection.set_connect_state()
            self._proceed()
        else:
            self._connection.set_accept_state()

    @property
    def done(self) -> bool:
        """Whether the channel is ready (write `data_to_send` first)."""
        return self.channel is not None

    @property
    def trailing_data(self) -> bytes:
        """Always empty: the channel keeps what came early; `open(b"")` returns it."""
        return b""

    def data_to_send(self) -> bytes:
        """Bytes to write; each is returned once.  After an error they say why, to the remote."""
        return _drain(self._connection)

    def receive_data(self, data: bytes) -> None:
        """Feed received bytes.  Raises HandshakeError or PeerIdMismatchError."""
        if data:
            self._connection.bio_write(data)
        self._proceed()

    def _proceed(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return
        except SSL.Error as error:
            raise HandshakeError("tls", _words(error)) from error
        self._finish()

    def _finish(self) -> None:
        peer = self._verified()
        if self._expected not in (None, peer):
            raise PeerIdMismatchError("tls", f"is {peer}, not {self._expected}")
        chosen = self._connection.get_alpn_proto_negotiated().decode()
        self.muxer = chosen if chosen in self._muxers else None
        self.remote_peer = peer
        self.channel = Channel(self._connection)

    def _verified(self) -> PeerId:
        certificate = self._connection.get_peer_certificate(as_cryptography=True)
        if certificate is None:
            raise HandshakeError("tls", "the remote sent no certificate")
        # As a client OpenSSL counts the peer's own among the chain, as a server it does not.
        chain = self._connection.get_peer_cert_chain(as_cryptography=True) or []
        if any(other != certificate for other in chain) or len(chain) > 1:
            raise HandshakeError("tls", "the remote sent more than one certificate")
        return tls_certificate.verify(certificate)


class Channel:
    """Records after the handshake; at most one of them (16 KiB) is buffered."""

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection

    def seal(self, data: bytes) -> bytes:
        """Plaintext of any length to wire bytes.  Raises HandshakeError after `end`."""
        left = memoryview(data)
        try:
            while left:
                left = left[self._connection.send(left) :]
        except SSL.Error as error:
            raise HandshakeError("tls", _words(error)) from error
        return _drain(self._connection)

    def open(self, data: bytes) -> bytes:
        """Wire bytes to the plaintext of every record that is now whole.

        After the remote's close_notify there is none.  Raises HandshakeError.
        """
        if data:
            self._connection.bio_write(data)
        out = bytearray()
        try:
            while True:
                out += self._connection.recv(_CHUNK)
        except (SSL.WantReadError, SSL.ZeroReturnError):
            return bytes(out)
        except SSL.Error as error:
            raise HandshakeError("tls", _words(error)) from error

    def end(self) -> bytes:
        """The close_notify alert."""
        try:
            self._connection.shutdown()
        except SSL.Error as error:
            raise HandshakeError("tls", _words(error)) from error
        return _drain(self._connection)


def _context(credentials: tls_certificate.Credentials, muxers: tuple[str, ...]) -> SSL.Context:
    known = [name.encode() for name in (*muxers, tls_certificate.ALPN)]

    def choose(connection: SSL.Connection, offered: list[bytes]) -> bytes:
        """The first of the client's list that we know."""
        del connection
        found = next((name for name in offered if name in known), None)
        if found is None:  # the alert is sent all the same (RFC 7301 section 3.2)
            raise HandshakeError("tls", f"no ALPN protocol in common with {offered[:8]}")
        return found

    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    # Nothing is resumed: a session would stand for a certificate that is not shown again.
    context.set_options(SSL.OP_NO_TICKET)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # Both sides must show one; no authority vouches for it.
    required = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    context.set_verify(required, _take)
    context.set_alpn_protos(known)
    context.set_alpn_select_callback(choose)
    context.use_certificate(credentials.certificate)
    context.use_privatekey(credentials.private_key)
    return context


def _take(*found: Any) -> bool:
    """OpenSSL's objections are not ours: `Handshake._verified` judges."""
    del found
    return True


def _drain(connection: SSL.Connection) -> bytes:
    out = bytearray()
    try:
        while True:
            out += connection.bio_read(_CHUNK)
    except SSL.WantReadError:
        return bytes(out)


def _words(error: SSL.Error) -> str:
    """OpenSSL's own, of the first thing that went wrong."""
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return str(reasons[0][-1]) if reasons else str(error) or type(error).__name__
