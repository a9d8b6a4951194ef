"""DCUtR: direct connection upgrade through relay, as a table (libp2p relay/DCUtR.md).

B received the relayed connection and runs `Initiator`; A dialed it and runs `Responder`.
Whatever the transport and whoever's packets came first, A is the client of the direct
connection.  Sans-io: frames' payloads and time in; messages, times and verdicts out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum, auto

from . import protobuf
from .errors import ProtocolError
from .multiaddr import Multiaddr, decode_all

PROTOCOL = "/libp2p/dcutr"
MAX_MESSAGE = 4096
ATTEMPTS = 3
PUNCH_INTERVAL = (0.010, 0.200)  # seconds between random UDP datagrams
TRANSPORTS = ("tcp", "quic-v1")  # that can be dialed from the port that listens
MAX_ADDRESSES = 16


class _Type(IntEnum):
    CONNECT = 100
    SYNC = 300


@dataclass(frozen=True)
class _HolePunch(protobuf.Message):
    type: int | None = protobuf.uint(1)
    observed: tuple[bytes, ...] = protobuf.blobs(2)


class State(Enum):
    """Where one attempt stands."""

    START = auto()
    CONNECT_SENT = auto()
    AWAIT_CONNECT = auto()
    AWAIT_SYNC = auto()
    PUNCH = auto()


class _Side:
    """One attempt: a table from (state, received type) to what to do."""

    def __init__(self, own: tuple[Multiaddr, ...], state: State) -> None:
        self.own = own[:MAX_ADDRESSES]
        self.state = state
        self.remote: tuple[Multiaddr, ...] = ()
        self._table: dict[tuple[State, int], Callable[[float], bytes]] = {}

    def receive(self, data: bytes, now: float) -> bytes:
        """One frame's payload in, the next one to send out (may be empty).

        Raises ProtocolError for a message that the state does not allow.
        """
        message = _HolePunch.decode(data)
        action = self._table.get((self.state, message.type or 0))
        if action is None:
            raise ProtocolError("dcutr", f"type {message.type} in state {self.state.name}")
        if message.type == _Type.CONNECT:
            addresses = decode_all(message.observed, MAX_ADDRESSES)
            self.remote = tuple(a.without_peer() for a in addresses if not a.is_relayed)
        return action(now)

    def _connect(self) -> bytes:
        observed = tuple(a.encode() for a in self.own)
        return _HolePunch(_Type.CONNECT, observed).encode()


class Initiator(_Side):
    """B: CONNECT out, CONNECT in (that is the RTT), SYNC out, and punch RTT/2 later."""

    def __init__(self, own: tuple[Multiaddr, ...]) -> None:
        super().__init__(own, State.START)
        self._sent_at = 0.0
        self.rtt = 0.0
        self.punch_at = 0.0
        self._table = {(State.CONNECT_SENT, _Type.CONNECT): self._on_connect}

    def start(self, now: float) -> bytes:
        """The first CONNECT; the clock for the RTT runs from here."""
        self._sent_at = now
        self.state = State.CONNECT_SENT
        return self._connect()

    def _on_connect(self, now: float) -> bytes:
        self.rtt = now - self._sent_at
        self.punch_at = now + self.rtt / 2
        self.state = State.PUNCH
        return _HolePunch(_Type.SYNC).encode()


class Responder(_Side):
    """A: answers CONNECT and dials the moment SYNC is there."""

    def __init__(self, own: tuple[Multiaddr, ...]) -> None:
        super().__init__(own, State.AWAIT_CONNECT)
        self._table = {
            (State.AWAIT_CONNECT, _Type.CONNECT): self._on_connect,
            (State.AWAIT_SYNC, _Type.SYNC): self._on_sync,
        }

    def _on_connect(self, _now: float) -> bytes:
        self.state = State.AWAIT_SYNC
        return self._connect()

    def _on_sync(self, _now: float) -> bytes:
        self.state = State.PUNCH
        return b""
