"""A circuit's stream at one of its ends, whose bytes are counted."""

import asyncio
import contextlib
import time

from ..errors import StreamResetError
from .stream import Stream


def now() -> int:
    """UNIX milliseconds, as statements have them."""
    return time.time_ns() // 1_000_000


class MeteredPipe:
    """A BytePipe; `over` once nothing passes any more, after which the counts stay."""

    def __init__(self, stream: Stream) -> None:
        self.read_count = self.written = 0
        self.over = asyncio.Event()
        self._stream = stream
        self._seen = 0
        self._enough = 0
        self._moved = asyncio.Event()

    async def read(self) -> bytes:
        """As a stream."""
        data = await self._stream.read()
        self.read_count += len(data)
        self._notice()
        return data

    async def write(self, data: bytes) -> None:
        """As a stream; what is offered counts, also if it never arrives."""
        if self.over.is_set():
            raise StreamResetError("the circuit is over")
        self.written += len(data)
        self._notice()
        await self._stream.write(data)

    async def end(self) -> None:
        """As a stream."""
        await self._stream.end()

    def abort(self) -> None:
        """As a stream."""
        self.over.set()
        self._moved.set()
        self._stream.abort()

    async def moved(self, count: int, seconds: float) -> None:
        """Until so many bytes more passed than at the last call, or so many seconds, or the end."""
        self._enough = self._seen + count
        self._moved.clear()
        self._notice()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._moved.wait()
        self._seen = self.read_count + self.written

    def _notice(self) -> None:
        if self.over.is_set() or self.read_count + self.written >= self._enough:
            self._moved.set()

    @property
    def undelivered(self) -> int:
        """As a stream."""
        return self._stream.undelivered

    def silent_for(self) -> float | None:
        """As a stream."""
        return self._stream.silent_for()
