"""What every connection has, and the one that runs Noise and Yamux over a byte pipe."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from enum import StrEnum

from .. import noise, yamux
from ..errors import ConnectionClosedError, LimitError, StreamResetError, TraversalError
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from .stream import BytePipe, Stream

_HIGH_WATER = 256 * 1024
_HARD_CAP = 2 * 1024 * 1024
_CLOSE_TIMEOUT = 1.0

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
        self.on_stream: StreamHandler | None = None
        self.on_closed: Callable[[Connection], None] | None = None
        self.on_moved: Callable[[Connection], None] | None = None
        self.close_reason: str | None = None
        self._streams: dict[int, Stream] = {}
        self._closed = asyncio.Event()

    @property
    def transport(self) -> str:
        """`tcp`, `quic-v1` or `circuit`."""
        return self.remote.transport or "unknown"

    @property
    def relayed(self) -> bool:
        """Whether the bytes go through a relay."""
        return self.remote.is_relayed

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._closed.is_set()

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that are open now."""
        return tuple(self._streams.values())

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

    @abstractmethod
    async def close(self, reason: str = "closed by us") -> None:
        """Tell the remote, then close."""

    @abstractmethod
    def abort(self, reason: str) -> None:
        """Close without ceremony."""

    def _lost(self, reason: str) -> None:
        if self._closed.is_set():
            return
        self.close_reason = reason
        self._closed.set()
        for stream in list(self._streams.values()):
            stream.feed_reset(ConnectionClosedError(f"connection to {self.peer}: {reason}"))
        self._streams.clear()
        if self.on_closed is not None:
            self.on_closed(self)

    def _accept_stream(self, stream: Stream) -> None:
        self._streams[stream.stream_id] = stream
        if self.on_stream is None:
            stream.abort()
        else:
            self.on_stream(self, stream)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.peer.short()} {self.remote} {self.direction}>"


class MuxedConnection(Connection):
    """Noise and Yamux over a pipe (TCP, or a circuit)."""

    def __init__(
        self,
        pipe: BytePipe,
        channel: noise.Channel,
        session: yamux.Session,
        peer: PeerId,
        local: Multiaddr,
        remote: Multiaddr,
        direction: Direction,
    ) -> None:
        super().__init__(peer, local, remote, direction)
        self._pipe, self._channel, self._session = pipe, channel, session
        self._loop = asyncio.get_running_loop()
        self._flush = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._tasks: list[asyncio.Task[None]] = []
        self.early = b""  # plaintext that came with the handshake

    def start(self) -> None:
        """Begin to read and write: call it once `on_stream` is set."""
        for work in (self._read_loop, self._write_loop, self._timer_loop):
            self._tasks.append(self._loop.create_task(self._guard(work)))

    async def open_raw_stream(self) -> Stream:
        stream = Stream(self, self._session.open_stream())
        self._streams[stream.stream_id] = stream
        self._wake()
        return stream

    async def close(self, reason: str = "closed by us") -> None:
        if not self.closed:
            self._session.go_away()
            with contextlib.suppress(TraversalError, OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self._flush_now()
                    await self._pipe.close()
        self.abort(reason)

    def abort(self, reason: str) -> None:
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self._pipe.abort()
        self._lost(reason)

    # Carrier.

    def stream_send(self, stream_id: int, data: memoryview) -> int:
        sent = self._session.send(stream_id, data)
        self._wake()
        return sent

    def stream_consumed(self, stream_id: int, count: int) -> None:
        self._session.consume(stream_id, count)
        self._wake()

    def stream_close_write(self, stream_id: int) -> None:
        self._session.close_write(stream_id)
        self._wake()

    def stream_reset(self, stream_id: int) -> None:
        self._session.reset(stream_id)
        self._wake()

    def stream_gone(self, stream_id: int) -> None:
        self._streams.pop(stream_id, None)

    async def drained(self) -> None:
        if self._session.pending > _HIGH_WATER:
            self._drained.clear()
            await self._drained.wait()

    # Tasks.

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (TraversalError, OSError) as error:
            if not self.closed:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(_CLOSE_TIMEOUT):
                        await self._flush_now()
            self.abort(str(error) or type(error).__name__)

    async def _read_loop(self) -> None:
        data = self.early
        while True:
            for event in self._session.receive_data(data, self._loop.time()):
                self._dispatch(event)
            self._wake()
            # A remote that makes us answer but does not read would grow our memory.
            if self._session.pending > _HARD_CAP:
                raise LimitError("the remote does not read what it asks for")
            wire = await self._pipe.read()
            if not wire:
                raise ConnectionClosedError("closed by the remote")
            data = self._channel.open(wire)

    def _dispatch(self, event: yamux.Event) -> None:
        if isinstance(event, yamux.StreamOpened):
            self._accept_stream(Stream(self, event.stream_id))
        elif isinstance(event, yamux.PingAnswered | yamux.GoneAway):
            return
        elif (stream := self._streams.get(event.stream_id)) is not None:
            if isinstance(event, yamux.DataReceived):
                stream.feed(event.data)
            elif isinstance(event, yamux.WriteClosed):
                stream.feed_eof()
            elif isinstance(event, yamux.WindowOpened):
                stream.window_opened()
            else:
                stream.feed_reset(StreamResetError("reset by the remote"))

    async def _write_loop(self) -> None:
        while True:
            await self._flush.wait()
            self._flush.clear()
            await self._flush_now()
            self._drained.set()

    async def _flush_now(self) -> None:
        if data := self._session.data_to_send():
            await self._pipe.write(self._channel.seal(data))

    async def _timer_loop(self) -> None:
        # An answer moves the next keepalive forward: no sleep is longer than one interval.
        longest = self._session.limits.keepalive
        while True:
            left = self._session.next_timer - self._loop.time()
            await asyncio.sleep(min(max(0.0, left), longest))
            self._session.tick(self._loop.time())
            self._wake()

    def _wake(self) -> None:
        if self._session.pending:
            self._flush.set()
