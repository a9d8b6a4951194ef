"""A stream that survives the change of its path: `resume`'s session over one path at a time."""

import asyncio
import contextlib
from dataclasses import dataclass

from .. import resume
from ..errors import (
    StreamResetError,
    TraversalError,
)
from ..peer_id import PeerId
from .connection import Connection
from .stream import Stream

_SHARE = 4  # of the limit of a circuit: the rest is for the upgrade, and for the other direction


@dataclass(frozen=True)
class ResumeOptions:
    """`patience`: seconds without any path, after which the stream ends with an error.

    Of what a limited circuit may carry a quarter is used, until a direct path is there or
    `limited_patience` is over: the upgrade needs the circuit, and the relay cuts it at its limit.
    Sessions that others opened are counted: in all, of a peer, and of an IP or IPv6 prefix.
    """

    patience: float = 60.0
    limited_patience: float = 20.0
    sessions: int = 256
    sessions_per_peer: int = 16
    sessions_per_party: int = 64


class ResumableStream:
    """Bytes in order, over one path after the other.

    `connection` is the path in use, or None.  Reading and writing are for one task each; the
    methods are those of `Stream` and raise the same errors, and ConnectionClosedError when there
    was no path for too long.
    """

    def __init__(self, peer: PeerId, protocol: str, options: ResumeOptions) -> None:
        self.peer, self.protocol, self.patience = peer, protocol, options.patience
        self._limited_patience = options.limited_patience
        self.connection: Connection | None = None
        self.paths = 0  # how many it has had
        self.core = resume.Session()
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self._carrier: Stream | None = None

    # For the user.

    async def read(self, limit: int = 65536) -> bytes:
        """At most `limit` bytes, as soon as there are any; b"" at the end."""
        while not self.core.unread:
            if self.core.remote_ended:
                return b""
            await self._wait()
        data = self.core.read(limit)
        self._touch()
        return data

    async def write(self, data: bytes) -> None:
        """Returns when all is kept for sending: at most a mebibyte waits for the other side."""
        left = memoryview(data)
        while left:
            self._check()
            taken = self.core.write(left)
            left = left[taken:]
            self._touch()
            if not taken:
                await self._wait()

    def close_write(self) -> None:
        """The other side reads b"" after what was written."""
        self.core.end()
        self._touch()

    async def wait_closed(self) -> None:
        """Until the other side has all that was written, and the end."""
        while not (self.core.ended and self.core.delivered):
            await self._wait()

    async def close(self) -> None:
        """Write no more, drop what still comes, and wait until both sides know of both ends.

        Without it the other side learns of a node that closes only when its patience is over.
        """
        self.close_write()
        while not (self.core.over and self.connection is None):
            self.core.read(self.core.unread)
            await self._wait()

    def abort(self) -> None:
        """End both directions now; the other side gets an error when its patience is over."""
        self.fail(StreamResetError("reset by us"))

    # For those who bring paths.

    @property
    def failed(self) -> bool:
        """Whether it has ended with an error."""
        return self._error is not None

    def fail(self, error: Exception) -> None:
        """End it: who reads or writes gets the error."""
        self._error = self._error or error
        if self._carrier is not None:
            self._carrier.abort()
        self._touch()

    async def carry(self, stream: Stream, connection: Connection, received: int) -> None:
        """Use this path until it ends, or all is over.  A path in use before is dropped."""
        if self._carrier is not None:
            self._carrier.abort()
        self.core.attach(received)
        self._carrier, self.connection = stream, connection
        self.paths += 1
        self._touch()
        allowance = _Allowance(connection, self._limited_patience)
        pumps = [
            asyncio.ensure_future(self._send(stream, allowance)),
            asyncio.ensure_future(self._receive(stream)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_EXCEPTION)
            for pump in pumps:
                if pump.done() and not pump.cancelled() and (error := pump.exception()):
                    if not isinstance(error, TraversalError):
                        raise error
                    stream.abort()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            if self._carrier is stream:
                self.core.detach()
                self._carrier, self.connection = None, None
            self._touch()

    def drop_path(self) -> None:
        """End the path in use, if there is one: the next one is sought."""
        if self._carrier is not None:
            self._carrier.abort()

    async def changed(self) -> None:
        """Until something has happened."""
        await self._changed.wait()

    # Private.

    async def _send(self, stream: Stream, allowance: "_Allowance") -> None:
        while self._carrier is stream:
            changed = self._changed
            if out := self.core.data_to_send(allowance.left):
                allowance.take(len(out))
                await stream.write(out)
            elif self.core.over:
                await stream.close()
                await stream.wait_closed()
                return
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(allowance.patience):
                        await changed.wait()

    async def _receive(self, stream: Stream) -> None:
        while data := await stream.read():
            self.core.receive_data(data)
            self._touch()
            while self.core.unread > resume.BUFFER:
                await self._changed.wait()
        if not self.core.over:
            raise StreamResetError("the path ended before the stream")

    async def _wait(self) -> None:
        self._check()
        await self._changed.wait()
        self._check()

    def _check(self) -> None:
        if self._error is not None and not self.core.unread:
            raise self._error

    def _touch(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class _Allowance:
    """How many bytes may go by a path whose relay cuts it at a limit."""

    def __init__(self, connection: Connection, patience: float) -> None:
        self._loop = asyncio.get_running_loop()
        limit = connection.limit
        self._left = limit.data // _SHARE if limit is not None and limit.data else None
        self._until = self._loop.time() + patience

    @property
    def patience(self) -> float | None:
        """Seconds until all may be used; None where nothing is kept back."""
        if self._left is None or (left := self._until - self._loop.time()) <= 0:
            return None
        return left

    @property
    def left(self) -> int:
        """Bytes that may be sent now."""
        return resume.MAX_DATA if self.patience is None else max(0, self._left or 0)

    def take(self, count: int) -> None:
        """So many are sent."""
        if self._left is not None:
            self._left -= count
