"""What secures a byte pipe: Noise or TLS 1.3, both offered, in an order that can be set.

Sans-io: a handshake gives a channel once it is done, whichever protocol it is.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from . import noise, yamux
from .errors import AddressError
from .keys import PrivateKey
from .peer_id import PeerId

if TYPE_CHECKING:
    from .tls import Settings

NOISE = noise.PROTOCOL
TLS = "/tls/1.0.0"
BOTH = (NOISE, TLS)
MUXERS = (yamux.PROTOCOL,)
_MAX_REMEMBERED = 1024


class Channel(Protocol):
    """A secure channel, after its handshake."""

    def seal(self, data: bytes) -> bytes:
        """Plaintext of any length to wire bytes."""

    def open(self, data: bytes) -> bytes:
        """Wire bytes to the plaintext that is now whole.  Raises HandshakeError."""

    def end(self) -> bytes:
        """Wire bytes that say that no more comes; none where the protocol has no such word."""


class Handshake(Protocol):
    """Driven as multistream's machines are (`run_machine`)."""

    @property
    def channel(self) -> Channel | None:
        """Once it is done."""

    @property
    def remote_peer(self) -> PeerId | None:
        """Whom the remote has proved to be."""

    @property
    def muxer(self) -> str | None:
        """The one that was agreed on within the handshake, if that was."""

    @property
    def done(self) -> bool:
        """Whether the channel is ready (write `data_to_send` first)."""

    @property
    def trailing_data(self) -> bytes:
        """Always empty: the channel keeps what came early; `open(b"")` returns it."""

    def data_to_send(self) -> bytes:
        """Bytes to write; each is returned once."""

    def receive_data(self, data: bytes) -> None:
        """Feed received bytes.  Raises HandshakeError, PeerIdMismatchError or ProtocolError."""


class Security:
    """Our identity, and the protocols that we offer: the first is what a dialer proposes first.

    A dialer's first proposal comes with the first message of its handshake, which saves a round
    trip, and costs a second dial where the remote does not speak it.  So that is remembered.
    Raises AddressError for a list without protocols, or with one that is not known.
    `key_log` gets lines by which captures are read: of Noise as `noise.Handshake` has it, of QUIC
    in the format of NSS.
    """

    def __init__(
        self,
        identity: PrivateKey,
        protocols: Sequence[str] = BOTH,
        key_log: Callable[[str], None] | None = None,
    ) -> None:
        if not protocols or not set(protocols) <= set(BOTH):
            raise AddressError(f"security protocols {tuple(protocols)}: known are {BOTH}")
        self.identity, self.key_log = identity, key_log
        self.protocols = tuple(dict.fromkeys(protocols))
        self._refused: dict[tuple[PeerId, str], None] = {}

    def order(self, peer: PeerId | None) -> tuple[str, ...]:
        """What to propose to a peer, the best first; it may be None, for one that is not known."""
        if peer is None:
            return self.protocols
        return tuple(sorted(self.protocols, key=lambda name: (peer, name) in self._refused))

    def refused(self, peer: PeerId | None, protocol: str) -> None:
        """The peer does not speak a protocol."""
        if peer is None:
            return
        if len(self._refused) >= _MAX_REMEMBERED:
            del self._refused[next(iter(self._refused))]
        self._refused[peer, protocol] = None

    def handshake(
        self, protocol: str, *, initiator: bool, expected: PeerId | None = None
    ) -> Handshake:
        """One of `protocols`, with our muxers in it."""
        if protocol == TLS:
            return self._tls.handshake(initiator=initiator, expected=expected)
        return noise.Handshake(
            self.identity, initiator=initiator, expected=expected, muxers=MUXERS,
            key_log=self.key_log,
        )  # fmt: skip

    @cached_property
    def _tls(self) -> "Settings":
        from .tls import Settings  # OpenSSL costs an import that Noise alone does not need

        return Settings(self.identity, MUXERS)
