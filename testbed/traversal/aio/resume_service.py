"""Who brings resumable streams their paths.

The side that opened one finds a path, again and again, and moves to a better one when it comes;
the other side waits for it.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from .. import resume
from ..errors import (
    ConnectionClosedError,
    LimitError,
    NegotiationError,
    ProtocolError,
    TraversalError,
)
from ..peer_id import PeerId
from .connection import Connection
from .host import Host
from .resumable import ResumableStream, ResumeOptions
from .stream import Stream

_HELLO_TIMEOUT = 5.0
_PAUSES = (0.1, 2.0)  # seconds before the next path is tried
_LOOK = 0.25  # seconds between looks for a better path

ResumableHandler = Callable[[ResumableStream, Connection], Awaitable[None]]
FindPath = Callable[[PeerId, float], Awaitable[Connection]]


class ResumeService:
    """Opens resumable streams, and serves those of others; `find` brings a path to a peer."""

    def __init__(self, host: Host, options: ResumeOptions, find: FindPath) -> None:
        self._host, self._options, self._find = host, options, find
        self._handlers: dict[str, ResumableHandler] = {}
        self._sessions: dict[tuple[PeerId, bytes], ResumableStream] = {}
        self._parties: dict[tuple[PeerId, bytes], str] = {}  # from where each was opened
        host.set_handler(resume.PROTOCOL, self._serve)

    def set_handler(self, protocol: str, handler: ResumableHandler) -> None:
        """Serve a protocol on resumable streams; the writing ends when the handler returns."""
        self._handlers[protocol] = handler

    async def open(self, peer: PeerId, protocol: str) -> ResumableStream:
        """A stream whose first path is there.  Raises what finding that raises.

        NegotiationError where the peer does not serve the protocol so.
        """
        stream = ResumableStream(peer, protocol, self._options)
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        running = self._host.spawn(self._keep(stream, resume.new_session(), first))
        try:
            await first
        except BaseException:
            running.cancel()
            raise
        return stream

    # The side that opened it.

    async def _keep(
        self, stream: ResumableStream, session: bytes, first: asyncio.Future[None]
    ) -> None:
        loop = asyncio.get_running_loop()
        lost_at, pause = loop.time(), _PAUSES[0]
        try:
            while not (stream.core.over or stream.failed):
                try:
                    left = lost_at + stream.patience - loop.time()
                    await self._once(stream, session, left, first)
                    lost_at, pause = loop.time(), _PAUSES[0]
                    continue
                except (NegotiationError, LimitError) as error:
                    failure: Exception = error
                except (TraversalError, TimeoutError) as error:
                    failure = error
                    if loop.time() < lost_at + stream.patience:
                        await asyncio.sleep(pause)
                        pause = min(2 * pause, _PAUSES[1])
                        continue
                stream.fail(ConnectionClosedError(f"no path to {stream.peer}: {failure}"))
                if not first.done():
                    first.set_exception(failure)
        finally:
            if not stream.core.over:
                stream.fail(ConnectionClosedError("the node closes"))
            if not first.done():
                first.cancel()

    async def _once(
        self, stream: ResumableStream, session: bytes, left: float, first: asyncio.Future[None]
    ) -> None:
        """One path, from its beginning to its end."""
        connection = await self._find(stream.peer, max(0.1, left))
        async with asyncio.timeout(_HELLO_TIMEOUT):
            carrier = await self._host.open_lazily(connection, resume.PROTOCOL)
            try:
                core = stream.core
                hello = resume.Hello(session, stream.protocol, core.received, int(stream.paths > 0))
                await carrier.write_frame(hello.encode())
                frame = await carrier.read_frame(resume.MAX_HELLO)
                answer = resume.Welcome.decode(frame)
                _check_welcome(answer)
            except BaseException:
                carrier.abort()
                raise
        if not first.done():
            first.set_result(None)
        moving = self._host.spawn(self._move(stream, connection))
        try:
            await stream.carry(carrier, connection, answer.received or 0)
        finally:
            moving.cancel()

    async def _move(self, stream: ResumableStream, connection: Connection) -> None:
        """Leave a relayed path once there is a direct one, and one whose remote leaves."""
        while True:
            await asyncio.sleep(_LOOK)
            best = self._host.connections_to(stream.peer)
            if best and best[0] is not connection and (
                not connection.usable or (connection.relayed and not best[0].relayed)
            ):  # fmt: skip
                stream.drop_path()
                return

    # The other side.

    async def _serve(self, carrier: Stream, connection: Connection) -> None:
        async with asyncio.timeout(_HELLO_TIMEOUT):
            hello = resume.Hello.decode(await carrier.read_frame(resume.MAX_HELLO))
            hello.check()
            key = connection.peer, hello.session or b""
            party = "" if connection.relayed else connection.remote.party
            status = self._admit(key, hello, party)
            found = self._sessions.get(key)
            received = found.core.received if found is not None else 0
            await carrier.write_frame(resume.Welcome(status, received).encode())
        if status is not resume.Status.OK or found is None:
            return
        if not found.paths:
            self._host.spawn(self._run(key, found, connection))
        await found.carry(carrier, connection, hello.received or 0)

    def _admit(self, key: tuple[PeerId, bytes], hello: resume.Hello, party: str) -> resume.Status:
        if key in self._sessions:
            return resume.Status.OK
        if hello.resumes:
            return resume.Status.UNKNOWN_SESSION
        if hello.protocol not in self._handlers:
            return resume.Status.UNKNOWN_PROTOCOL
        mine = sum(peer == key[0] for peer, _ in self._sessions)
        options = self._options
        near = sum(where == party for where in self._parties.values()) if party else 0
        if (
            len(self._sessions) >= options.sessions
            or mine >= options.sessions_per_peer
            or near >= options.sessions_per_party
        ):
            return resume.Status.TOO_MANY
        self._sessions[key] = ResumableStream(key[0], hello.protocol or "", options)
        self._parties[key] = party
        return resume.Status.OK

    async def _run(
        self, key: tuple[PeerId, bytes], stream: ResumableStream, connection: Connection
    ) -> None:
        """The handler, and the session until both sides know of its end or nobody comes back."""
        handling = self._host.spawn(self._handle(stream, connection))
        loop = asyncio.get_running_loop()
        try:
            lost_at: float | None = None
            while not stream.failed and not (stream.core.over and stream.connection is None):
                if stream.connection is not None:
                    lost_at = None
                elif lost_at is None:
                    lost_at = loop.time()
                elif loop.time() > lost_at + stream.patience:
                    stream.fail(ConnectionClosedError(f"{stream.peer} did not come back"))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        await stream.changed()
            if not stream.failed:
                await handling
        finally:
            handling.cancel()
            self._sessions.pop(key, None)
            self._parties.pop(key, None)
            if not stream.core.over:
                stream.fail(ConnectionClosedError("the session is over"))

    async def _handle(self, stream: ResumableStream, connection: Connection) -> None:
        try:
            await self._handlers[stream.protocol](stream, connection)
            stream.close_write()
        except (TraversalError, OSError) as error:
            stream.fail(error)


def _check_welcome(answer: resume.Welcome) -> None:
    status = answer.status or 0
    if status == resume.Status.OK:
        return
    if status in set(resume.Status):
        name = resume.Status(status).name.lower().replace("_", " ")
        if status == resume.Status.TOO_MANY:
            raise LimitError(f"resume: {name}")
        raise NegotiationError("resume", name)
    raise ProtocolError("resume", f"status {status}")
