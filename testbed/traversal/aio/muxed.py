"""The connection that runs Yamux over a secured byte pipe: TCP, or a circuit."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Hashable

from .. import yamux
from ..errors import ConnectionClosedError, LimitError, StreamResetError, TraversalError
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from ..security import Channel
from .connection import PATIENCE, Connection, Direction
from .stream import BytePipe, Stream

_HIGH_WATER = 256 * 1024
_HARD_CAP = 2 * 1024 * 1024
_FAREWELL = 1.0  # seconds for the remote's own end, once all is delivered


class MuxedConnection(Connection):
    """Yamux over a pipe (TCP, or a circuit) that Noise or TLS secures."""

    def __init__(
        self,
        pipe: BytePipe,
        channel: Channel,
        session: yamux.Session,
        peer: PeerId,
        local: Multiaddr,
        remote: Multiaddr,
        direction: Direction,
    ) -> None:
        super().__init__(peer, local, remote, direction)
        self._pipe, self._channel, self._session = pipe, channel, session
        session.promise = lambda count: self.account.promise(count)
        session.keep = lambda count: self.account.keep(count)
        self._loop = asyncio.get_running_loop()
        self._flush = asyncio.Event()
        self._timed = asyncio.Event()  # a timer may be nearer than it was
        self._writing = 0  # bytes that the pipe has not taken yet
        self._received = 0
        self._taken = self._progressed = 0  # bytes that the pipe was given, and had delivered
        self._asked = 0
        self._tasks: list[asyncio.Task[None]] = []
        self.early = b""  # plaintext that came with the handshake

    def start(self) -> None:
        """Begin to read and write: call it once `on_stream` is set."""
        for work in (self._read_loop, self._write_loop, self._timer_loop):
            self._tasks.append(self._loop.create_task(self._guard(work)))

    async def open_raw_stream(self) -> Stream:
        if self.closed:  # nobody would ever tell the stream that it is over
            raise ConnectionClosedError(f"connection to {self.peer}: {self.close_reason}")
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
            if farewell := self._channel.end():
                await self._pipe.write(farewell)
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
        room = self.sending.room
        if not room:
            self._block(stream_id)
            return 0
        sent = self._session.send(stream_id, data[:room])
        self._settle()
        self._wake()
        return sent

    def _settle(self) -> None:
        self.sending.settle(self._session.pending + self._writing)

    def path_heard_at(self) -> float:
        silent = self._pipe.silent_for()
        by_pipe = 0.0 if silent is None else self._loop.time() - silent
        return max(self.heard_at, by_pipe)

    def ask_path(self) -> None:
        if self._pipe.silent_for() is not None and self._pipe.undelivered:
            return  # the kernel repeats what is not acknowledged, and a ping would come after it
        self._session.ask(self._loop.time())
        self._wake()
        self._timed.set()

    def stream_consumed(self, stream_id: int, count: int) -> None:
        timer = self._session.next_timer
        self._session.consume(stream_id, count, self._loop.time())
        if self._session.next_timer < timer:
            self._timed.set()
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
            self.round_trip = event.rtt
            if self._session.data_read < self._asked or (self.leaving and self.undelivered):
                self._ask()
        elif isinstance(event, yamux.GoneAway):
            self.remote_leaves = True
            if event.code != yamux.GoAwayCode.NORMAL:
                raise ConnectionClosedError(f"the remote went away: yamux code {event.code}")
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
            self._writing = len(data)
            sealed = self._channel.seal(data)
            self._taken += len(sealed)
            await self._pipe.write(sealed)
            self._writing = 0
            self._settle()

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
            # On a slow link an answer comes behind all that is under way: seconds late, no loss.
            progress = self._taken - self._pipe.undelivered
            if progress > self._progressed:
                self._session.moved(self._loop.time())
            asked = self._session.pending
            self._session.tick(self._loop.time())
            if self._session.pending > asked or progress > self._progressed:
                self._progressed = progress
            self._wake()

    def _wake(self) -> None:
        if self._session.pending:
            self._flush.set()
