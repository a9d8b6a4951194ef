"""What every connection has, and the one that runs Noise and Yamux over a byte pipe."""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable
from enum import StrEnum

from .. import noise, yamux
from ..errors import ConnectionClosedError, LimitError, StreamResetError, TraversalError
from ..memory import Memory, MemoryLimits
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from ..relay import Limit
from .stream import BytePipe, Stream

_HIGH_WATER = 256 * 1024
_HARD_CAP = 2 * 1024 * 1024
PATIENCE = 5.0  # seconds in which something must move while a closing connection delivers
_FAREWELL = 1.0  # seconds for the remote's own end, once all is delivered
_CLOSE_TIMEOUT = 60.0

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
        self.undelivered_at_end = 0  # bytes that were written and are lost with the connection
        self.limit: Limit | None = None  # of a circuit, as its relay told it
        self.leaving = False  # it ends once all is delivered: no place for new streams
        self.remote_leaves = False
        self.heard_at = self.opened_at  # when something last came in
        self.account = Memory(MemoryLimits()).account(peer)
        self._progress = asyncio.Event()
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
    def usable(self) -> bool:
        """Whether a new stream has a place here: neither end has said that it leaves."""
        return not (self.closed or self.leaving or self.remote_leaves)

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._closed.is_set()

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
            stream.feed_reset(ConnectionClosedError(f"connection to {self.peer}: {reason}"))
        self._streams.clear()
        self.account.close()
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
        self._timed = asyncio.Event()  # a timer may be nearer than it was
        self._writing = False
        self._received = 0
        self._asked = 0
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

    @property
    def undelivered(self) -> int:
        return self._session.data_sent - self._session.data_read

    def _movement(self) -> Hashable:
        session = self._session
        return session.pending, self._pipe.undelivered, self._received

    async def _finish(self) -> None:
        """The remote's own end of the pipe says that it has read ours."""
        if self.undelivered:
            self._ask()
            await self._while_it_moves(lambda: not self.undelivered, PATIENCE)
        self._session.go_away()
        self._wake()
        await self._while_it_moves(self._written, _FAREWELL)
        if self._written():
            await self._pipe.end()
            await self._while_it_moves(lambda: self.closed, _FAREWELL)

    def _ask(self) -> None:
        """Have the remote say that it has read what was written until now."""
        self._asked = self._session.data_sent
        self._session.ask(self._loop.time())
        self._wake()
        self._timed.set()

    def abort(self, reason: str) -> None:
        if self.closed:
            return
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self._lost(reason)  # first: it counts what the pipe has not delivered
        self._pipe.abort()

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

    def stream_close_read(self, stream_id: int) -> None:
        self._session.close_read(stream_id)
        self._wake()

    def stream_undelivered(self, stream_id: int) -> int:
        del stream_id  # what the remote is known to have read is known of all streams together
        return self.undelivered

    async def drained(self) -> None:
        await self._until(lambda: self._session.pending <= _HIGH_WATER)

    async def delivered(self, stream_id: int) -> None:
        del stream_id
        self._ask()
        mark = self._asked
        await self._until(lambda: self._session.data_read >= mark)
        if self._session.data_read < mark:
            raise ConnectionClosedError(f"connection to {self.peer}: {self.close_reason}")

    # Tasks.

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        reason = "a task of the connection failed"
        try:
            await work()
        except (TraversalError, OSError) as error:
            reason = str(error) or type(error).__name__
            if not self.closed:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(_FAREWELL):
                        await self._flush_now()  # the session may say why it ends
        finally:
            self.abort(reason)  # also after a mistake of ours: nobody is left waiting

    async def _read_loop(self) -> None:
        data = self.early
        while True:
            for event in self._session.receive_data(data, self._loop.time()):
                self._dispatch(event)
            self._wake()
            self._progress.set()
            # A remote that makes us answer but does not read would grow our memory.
            if self._session.pending > _HARD_CAP:
                raise LimitError("the remote does not read what it asks for")
            wire = await self._pipe.read()
            if not wire:
                raise ConnectionClosedError("closed by the remote")
            self._received += len(wire)
            self.heard_at = self._loop.time()
            data = self._channel.open(wire)

    def _dispatch(self, event: yamux.Event) -> None:
        if isinstance(event, yamux.StreamOpened):
            self._accept_stream(Stream(self, event.stream_id))
        elif isinstance(event, yamux.PingAnswered):
            if self._session.data_read < self._asked or (self.leaving and self.undelivered):
                self._ask()
        elif isinstance(event, yamux.GoneAway):
            self.remote_leaves = True
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
            self._progress.set()

    async def _flush_now(self) -> None:
        if data := self._session.data_to_send():
            self._writing = True
            await self._pipe.write(self._channel.seal(data))
            self._writing = False

    def _written(self) -> bool:
        return not self._session.pending and not self._writing

    async def _timer_loop(self) -> None:
        # An answer moves the next keepalive forward: no sleep is longer than one interval.
        longest = self._session.limits.keepalive
        while True:
            self._timed.clear()
            left = self._session.next_timer - self._loop.time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(max(0.0, left), longest)):
                    await self._timed.wait()
            self._session.tick(self._loop.time())
            self._wake()

    def _wake(self) -> None:
        if self._session.pending:
            self._flush.set()
