"""What every connection has, whatever carries it."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from enum import StrEnum

from ..errors import ConnectionClosedError, TraversalError
from ..memory import Memory, MemoryLimits
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from ..relay import Limit
from ..security import TLS
from .stream import Stream

PATIENCE = 5.0  # seconds in which something must move while a closing connection delivers
_CLOSE_TIMEOUT = 60.0
# Streams of these may end with their connection: rust-libp2p's ping never ends by itself.
EXPENDABLE = frozenset({"/ipfs/ping/1.0.0", "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0"})

StreamHandler = Callable[["Connection", Stream], None]


class Direction(StrEnum):
    """Who opened the connection, as TCP or QUIC saw it (not: who is the security client)."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Connection(ABC):
    """A secure, multiplexed connection to one peer.

    `local` and `remote` are multiaddrs as the sockets know them; over a circuit both
    end in `/p2p-circuit`.  `on_moved` is called when `remote` has become another.
    """

    def __init__(
        self, peer: PeerId, local: Multiaddr, remote: Multiaddr, direction: Direction
    ) -> None:
        self.peer, self.local, self.remote, self.direction = peer, local, remote, direction
        self.opened_at = asyncio.get_running_loop().time()
        self.security = TLS  # or Noise; QUIC's handshake is that of libp2p's TLS
        self.on_stream: StreamHandler | None = None
        self.on_closed: Callable[[Connection], None] | None = None
        self.on_moved: Callable[[Connection], None] | None = None
        self.close_reason: str | None = None
        self.undelivered_at_end = 0  # bytes that were written and are lost with the connection
        self.limit: Limit | None = None  # of a circuit, as its relay told it
        self.leaving = False  # it ends once all is delivered: no place for new streams
        self.remote_leaves = False
        self.heard_at = self.opened_at  # when something last came in
        self.account = Memory(MemoryLimits()).account(peer)  # of what waits for readers
        self.sending = Memory(MemoryLimits()).account(peer)  # of what waits for the remote
        self.round_trip = 0.0  # seconds, as far as it is known
        self.end_error: type[ConnectionClosedError] = ConnectionClosedError
        self.pinging = asyncio.Lock()  # one ping stream of ours at a time
        self._progress = asyncio.Event()
        self._streams: dict[int, Stream] = {}
        self._blocked: set[int] = set()  # streams whose writers wait for room
        self._closed = asyncio.Event()

    @property
    def transport(self) -> str:
        """`tcp`, `quic-v1`, `ws`, `wss` or `circuit`."""
        return self.remote.transport or "unknown"

    @property
    def relayed(self) -> bool:
        """Whether the bytes go through a relay."""
        return self.remote.is_relayed

    @property
    def usable(self) -> bool:
        """Whether a new stream has a place here: neither end has said that it leaves."""
        return not (self.closed or self.leaving or self.remote_leaves)

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._closed.is_set()

    @property
    def in_use(self) -> bool:
        """Whether somebody would miss it: it has streams beside ping's and identify's."""
        return any(stream.protocol not in EXPENDABLE for stream in self._streams.values())

    def path_heard_at(self) -> float:
        """When something of the remote's machine last came, in the loop's time."""
        return self.heard_at

    @abstractmethod
    def ask_path(self) -> None:
        """Have the remote say something."""

    def _unblock(self) -> None:
        """Let those write again that had no room."""
        blocked, self._blocked = self._blocked, set()
        self.sending.wait(False)
        for stream_id in blocked:
            if stream := self._streams.get(stream_id):
                stream.window_opened()

    def _block(self, stream_id: int) -> None:
        self._blocked.add(stream_id)
        self.sending.on_room = self._unblock
        self.sending.wait(True)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that are open now."""
        return tuple(self._streams.values())

    def hold(self, count: int) -> bool:
        """Whether so many bytes more may wait for a reader."""
        return self.account.take(count)

    def release(self, count: int) -> None:
        """Bytes that `hold` allowed wait no more."""
        self.account.give(count)

    @abstractmethod
    def start(self) -> None:
        """Begin to read and write; call it once `on_stream` is set."""

    def locate(self) -> Multiaddr:
        """`local` as it is now: a socket that is bound to no address follows the routes."""
        return self.local

    async def wait_closed(self) -> None:
        """Returns when the connection is gone."""
        await self._closed.wait()

    @abstractmethod
    async def open_raw_stream(self) -> Stream:
        """A new stream before any negotiation."""

    async def close(self, reason: str = "closed by us") -> None:
        """Deliver what was written, as long as something moves, then close."""
        if self.leaving:
            await self.wait_closed()
        elif not self.closed:
            self.leaving = True
            with contextlib.suppress(TraversalError, OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self._finish()
        self.abort(reason)

    @abstractmethod
    def abort(self, reason: str) -> None:
        """Close without ceremony: what is not delivered is lost."""

    @property
    @abstractmethod
    def undelivered(self) -> int:
        """Bytes written of which it is not known that the remote has them."""

    @abstractmethod
    async def _finish(self) -> None:
        """Deliver what was written and say that we leave; gives up where nothing moves."""

    @abstractmethod
    def _movement(self) -> Hashable:
        """Another value whenever something was sent, acknowledged or received."""

    async def _until(self, done: Callable[[], bool]) -> None:
        """Until `done` or the connection is gone."""
        while not done() and not self.closed:
            self._progress.clear()
            await self._progress.wait()

    async def _while_it_moves(self, done: Callable[[], bool], patience: float) -> None:
        """Until `done`, gone, or nothing has moved for `patience` seconds."""
        while not done() and not self.closed:
            before = self._movement()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience):
                    await self._until(done)
                return
            if self._movement() == before:
                return

    def _lost(self, reason: str) -> None:
        if self._closed.is_set():
            return
        self.close_reason = reason
        self.undelivered_at_end = self.undelivered
        self._closed.set()
        self._progress.set()
        for stream in list(self._streams.values()):
            stream.feed_reset(self.end_error(f"connection to {self.peer}: {reason}"))
        self._streams.clear()
        self.account.close()
        self.sending.close()
        if self.on_closed is not None:
            self.on_closed(self)

    def _accept_stream(self, stream: Stream) -> None:
        stream.theirs = True
        self._streams[stream.stream_id] = stream
        if self.on_stream is None:
            stream.abort()
        else:
            self.on_stream(self, stream)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.peer.short()} {self.remote} {self.direction}>"
