"""The switchboard: connections by peer, protocol handlers, streams, events.

Knows nothing of traversal; the services are built on it.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from .. import multistream, yamux
from ..errors import (
    ConnectionClosedError,
    DeadlineError,
    DialError,
    DialFailure,
    TraversalError,
)
from ..events import (
    ConnectionClosed,
    ConnectionMoved,
    ConnectionOpened,
    Event,
    HandlerFailed,
    Listening,
)
from ..gater import Gater
from ..keys import PrivateKey
from ..logs import log
from ..memory import Memory, MemoryLimits
from ..multiaddr import Multiaddr
from ..peer_id import PeerId
from ..security import BOTH, Security
from .connection import Connection
from .quic_timers import QuicTimers
from .sockets import Sockets
from .stream import Stream, run_machine
from .transports import Transports
from .websocket import WebSocketOptions

NEGOTIATION_TIMEOUT = 10.0
_SENDING = MemoryLimits(4 * 2**20, 8 * 2**20, 64 * 2**20)
_EVENT_BACKLOG = 4096  # for a subscriber that lags
_EVENT_HISTORY = 512

Handler = Callable[[Stream, Connection], Awaitable[None]]
T = TypeVar("T")


@dataclass(frozen=True)
class HostLimits:
    """Counts and seconds; an IPv6 address counts with its /56.

    From `trim_from` connections on, those that nobody uses are closed, the longest silent first,
    until `trim_to` are left; none that is younger than `trim_grace` or kept for its peer.
    """

    connections: int = 512
    trim_from: int = 384
    trim_to: int = 320
    trim_grace: float = 20.0
    connections_per_peer: int = 8
    connections_per_ip: int = 64
    dial_timeout: float = 10.0
    memory: MemoryLimits = field(default_factory=MemoryLimits)
    sending: MemoryLimits = field(default_factory=lambda: _SENDING)
    streams: yamux.Limits = field(default_factory=yamux.Limits)
    quic: QuicTimers = field(default_factory=QuicTimers)


class Host:
    """One identity, its sockets, connections and handlers."""

    def __init__(
        self,
        identity: PrivateKey,
        limits: HostLimits,
        gater: Gater | None = None,
        *,
        security: Sequence[str] = BOTH,
        websocket: WebSocketOptions | None = None,
        key_log: Callable[[str], None] | None = None,
    ) -> None:
        self.identity = identity
        self.security = Security(identity, security, key_log)
        self.peer = PeerId.from_public_key(identity.public)
        self.limits = limits
        self.gater = gater or Gater()
        sockets = Sockets(self.security, limits.streams, websocket or WebSocketOptions())
        self.transports = Transports(sockets, limits.quic, self.gater)
        self.transports.on_connection = self.adopt
        self.memory = Memory(limits.memory)
        self.sending = Memory(limits.sending)
        self.kept: set[PeerId] = set()  # whose connections are wanted though no stream is open
        self.handlers: dict[str, Handler] = {}
        self.connected_hooks: list[Callable[[Connection], None]] = []
        self.closed_hooks: list[Callable[[Connection], None]] = []
        self.moved_hooks: list[Callable[[Connection], None]] = []
        self._connections: dict[PeerId, list[Connection]] = {}
        self._waiters: list[tuple[PeerId, bool, asyncio.Future[Connection]]] = []
        self._subscribers: set[asyncio.Queue[Event | None]] = set()
        self._history: deque[Event] = deque(maxlen=_EVENT_HISTORY)
        self._tasks: set[asyncio.Task[object]] = set()
        self.closing = False

    # Events.

    def emit(self, event: Event) -> None:
        """Tell every subscriber; one that lags by thousands loses the oldest events."""
        log(event)
        self._history.append(event)
        for queue in self._subscribers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    async def events(self, *, history: bool = True) -> AsyncIterator[Event]:
        """Events from now on (and those before, with `history`) until the host closes."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(_EVENT_BACKLOG)
        self._subscribers.add(queue)
        try:
            for event in tuple(self._history) if history else ():
                yield event
            while not self.closing and (fresh := await queue.get()) is not None:
                yield fresh
            while not queue.empty() and (fresh := queue.get_nowait()) is not None:
                yield fresh
        finally:
            self._subscribers.discard(queue)

    # Sockets and connections.

    async def listen(self, address: Multiaddr) -> Multiaddr:
        """Open a socket.  Raises OSError, AddressError."""
        bound = await self.transports.listen(address)
        self.emit(Listening(bound))
        return bound

    def adopt(self, connection: Connection) -> None:
        """Take a secured connection in; over a limit, or to ourselves, it is dropped."""
        if len(self.connections) >= self.limits.trim_from:
            self._trim()
        if connection.peer == self.peer:
            connection.abort("the other end has this node's own identity")
            return
        if self.closing or self._over_limit(connection):
            connection.abort("connection limit")
            return
        if not self.gater.may_connect(connection.peer, connection.remote):
            connection.abort("the gater does not let the peer")
            return
        connection.account = self.memory.account(connection.peer)
        connection.sending = self.sending.account(connection.peer)
        connection.on_stream = self._on_stream
        connection.on_closed = self._on_closed
        connection.on_moved = self._on_moved
        self._connections.setdefault(connection.peer, []).append(connection)
        connection.start()
        self.emit(
            ConnectionOpened(
                connection.peer, connection.remote, connection.direction, connection.relayed,
                connection.limit,
            )
        )  # fmt: skip
        for hook in self.connected_hooks:
            hook(connection)
        for peer, direct, waiter in self._waiters:
            if peer == connection.peer and not (direct and connection.relayed):
                _resolve(waiter, connection)

    async def dial_direct(
        self,
        address: Multiaddr,
        peer: PeerId | None,
        timeout: float,
        *,
        client: bool = True,
        fresh: bool = False,
        answered: Callable[[], None] | None = None,
    ) -> Connection:
        """Dial as `Transports.dial` does, and adopt.  Raises DialError."""
        connection = await self.transports.dial(
            address, peer, timeout, client=client, fresh=fresh, answered=answered
        )
        self.adopt(connection)
        if connection.closed:
            raise DialError(address, DialFailure.LIMIT, connection.close_reason or "refused")
        return connection

    @property
    def connections(self) -> tuple[Connection, ...]:
        """All that are open."""
        return tuple(c for group in self._connections.values() for c in group)

    def connections_to(self, peer: PeerId, *, relayed: bool | None = None) -> list[Connection]:
        """Usable ones to a peer: direct ones first, then those without a limit, then the oldest."""
        found = [
            c
            for c in self._connections.get(peer, [])
            if c.usable and (relayed is None or c.relayed == relayed)
        ]
        return sorted(found, key=lambda c: (c.relayed, c.limit is not None, c.opened_at))

    async def wait_connection(
        self, peer: PeerId, timeout: float, *, direct: bool = False
    ) -> Connection:
        """The first (direct) connection to the peer.  Raises DeadlineError."""
        existing = self.connections_to(peer, relayed=False if direct else None)
        if existing:
            return existing[0]
        waiter: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        entry = (peer, direct, waiter)
        self._waiters.append(entry)
        try:
            async with asyncio.timeout(timeout):
                return await waiter
        except TimeoutError as error:
            kind = "direct connection" if direct else "connection"
            raise DeadlineError(f"no {kind} to {peer} in {timeout:g} s") from error
        finally:
            self._waiters.remove(entry)

    # Streams.

    def set_handler(self, protocol: str, handler: Handler) -> None:
        """Serve a protocol; the stream is closed when the handler returns."""
        self.handlers[protocol] = handler

    async def open_stream(self, connection: Connection, protocols: Sequence[str]) -> Stream:
        """A negotiated stream.  Raises NegotiationError, ConnectionClosedError, DeadlineError."""
        stream = await connection.open_raw_stream()
        try:
            async with asyncio.timeout(NEGOTIATION_TIMEOUT):
                machine = multistream.Dialer(protocols)
                left = await run_machine(machine, stream, "multistream")
        except TimeoutError as error:
            stream.abort()
            raise DeadlineError(f"{connection.peer} did not negotiate {protocols}") from error
        except BaseException:
            stream.abort()
            raise
        stream.unread(left)
        stream.protocol = machine.selected or ""
        return stream

    async def open_lazily(self, connection: Connection, protocol: str) -> Stream:
        """A stream that can be written at once: `Stream.propose`.

        Raises ConnectionClosedError, LimitError; a refusal comes later.
        """
        stream = await connection.open_raw_stream()
        try:
            await stream.propose(protocol, NEGOTIATION_TIMEOUT)
        except BaseException:
            stream.abort()
            raise
        return stream

    @contextlib.asynccontextmanager
    async def exchange(self, connection: Connection, protocol: str) -> AsyncIterator[Stream]:
        """A stream as `open_lazily` gives it, closed at the end, or reset if that is an error."""
        stream = await self.open_lazily(connection, protocol)
        try:
            yield stream
        except BaseException:
            stream.abort()
            raise
        await stream.close()

    def spawn(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        """Run in the background until done or the host closes."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    async def close(self) -> None:
        """Deliver what was written, then close every connection, task and socket."""
        self.closing = True
        relayed = [c for c in self.connections if c.relayed]  # tasks of ours carry their bytes
        await asyncio.gather(*(c.close("the node closes") for c in relayed))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(c.close("the node closes") for c in self.connections))
        await self.transports.close()
        for queue in self._subscribers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(None)

    # Private.

    def _task_done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            context = {"message": "background task failed", "exception": error}
            task.get_loop().call_exception_handler(context)

    def _trim(self) -> None:
        """Close connections that nobody uses: an attacker's would else be there for ever."""
        limits, now = self.limits, asyncio.get_running_loop().time()
        idle = [
            c
            for c in self.connections
            if not (c.in_use or c.relayed or c.peer in self.kept)
            and now - c.opened_at >= limits.trim_grace
        ]
        idle.sort(key=lambda c: c.heard_at)
        for connection in idle[: len(self.connections) - limits.trim_to]:
            connection.abort("nobody uses it, and there are many")

    def _over_limit(self, connection: Connection) -> bool:
        limits = self.limits
        everyone = self.connections
        mine = connection.remote.party
        return (
            len(everyone) >= limits.connections
            or len(self._connections.get(connection.peer, ())) >= limits.connections_per_peer
            or sum(c.remote.party == mine for c in everyone if not c.relayed)
            >= limits.connections_per_ip
        )

    def _on_closed(self, connection: Connection) -> None:
        group = self._connections.get(connection.peer, [])
        if connection in group:
            group.remove(connection)
        if not group:
            self._connections.pop(connection.peer, None)
        reason = connection.close_reason or ""
        self.emit(
            ConnectionClosed(
                connection.peer, connection.remote, connection.relayed, reason,
                connection.undelivered_at_end,
            )
        )  # fmt: skip
        for hook in self.closed_hooks:
            hook(connection)

    def _on_moved(self, connection: Connection) -> None:
        self.emit(ConnectionMoved(connection.peer, connection.remote))
        for hook in self.moved_hooks:
            hook(connection)

    def _on_stream(self, connection: Connection, stream: Stream) -> None:
        if self.closing:
            stream.abort()
        else:
            self.spawn(self._serve(connection, stream))

    async def _serve(self, connection: Connection, stream: Stream) -> None:
        machine = multistream.Listener(self.handlers)
        try:
            async with asyncio.timeout(NEGOTIATION_TIMEOUT):
                left = await run_machine(machine, stream, "multistream")
            stream.unread(left)
            stream.protocol = machine.selected or ""
            await self.handlers[stream.protocol](stream, connection)
            await stream.close()
        except ConnectionClosedError:
            return
        except (TraversalError, OSError) as error:
            await _refuse(machine, stream)
            stream.abort()
            reason = str(error) or type(error).__name__
            self.emit(HandlerFailed(connection.peer, stream.protocol or "multistream", reason))
        except BaseException:
            with contextlib.suppress(Exception):
                stream.abort()
            raise


async def _refuse(machine: multistream.Listener, stream: Stream) -> None:
    """What could not be read was data behind a proposal: a reset might overtake our `na`."""
    if machine.refused:
        with contextlib.suppress(TraversalError):
            await stream.write(machine.data_to_send())
            await stream.close()


def _resolve(waiter: asyncio.Future[Connection], connection: Connection) -> None:
    if not waiter.done():
        waiter.set_result(connection)
