"""A stream as its user sees it, whatever carries it (Yamux or QUIC)."""

import asyncio
from typing import Protocol

from .. import varint
from ..errors import FrameTooLargeError, ProtocolError, StreamResetError


class BytePipe(Protocol):
    """A reliable byte stream in both directions: a TCP socket, or a stream used as one."""

    async def read(self) -> bytes:
        """Some bytes, or b"" at the end."""

    async def write(self, data: bytes) -> None:
        """Returns when the pipe can take more.  Raises when it is broken."""

    async def close(self) -> None:
        """Flush, then close."""

    def abort(self) -> None:
        """Drop everything now."""


class Carrier(Protocol):
    """What a connection does for its streams."""

    def stream_send(self, stream_id: int, data: memoryview) -> int:
        """Take bytes; fewer than offered when a window or a buffer is full."""

    def stream_consumed(self, stream_id: int, count: int) -> None:
        """The user took bytes: flow control may give the remote room."""

    def stream_close_write(self, stream_id: int) -> None:
        """No more bytes from us."""

    def stream_reset(self, stream_id: int) -> None:
        """Both directions end now."""

    def stream_gone(self, stream_id: int) -> None:
        """The stream has ended in both directions."""

    async def drained(self) -> None:
        """Wait until the connection has written most of what it holds."""


class Stream:
    """Bytes in order, with flow control; also a BytePipe.

    Reading and writing are for one task each.  `protocol` is set once negotiated.
    """

    def __init__(self, carrier: Carrier, stream_id: int) -> None:
        self.stream_id = stream_id
        self.protocol = ""
        self._carrier = carrier
        self._buffer = bytearray()
        self._put_back = 0  # bytes at the buffer's front that the remote was credited for
        self._eof = False
        self._write_closed = False
        self._error: Exception | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._negotiation: Machine | None = None

    # For the user.

    async def read(self, limit: int = 65536) -> bytes:
        """At most `limit` bytes, as soon as there are any; b"" at the end.

        Raises StreamResetError or ConnectionClosedError; after `negotiate_lazily` also
        NegotiationError.
        """
        if self._negotiation is not None:
            machine, self._negotiation = self._negotiation, None
            self.unread(await run_machine(machine, self, "multistream"))
        while not self._buffer:
            if self._error is not None:
                raise self._error
            if self._eof:
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        credited = min(self._put_back, len(data))
        self._put_back -= credited
        self._carrier.stream_consumed(self.stream_id, len(data) - credited)
        return data

    async def read_exactly(self, count: int) -> bytes:
        """Exactly `count` bytes.  Raises StreamResetError when the stream ends before."""
        out = bytearray()
        while len(out) < count:
            data = await self.read(count - len(out))
            if not data:
                raise StreamResetError(f"stream ended {count - len(out)} bytes early")
            out += data
        return bytes(out)

    async def read_frame(self, limit: int) -> bytes:
        """A varint-prefixed frame.  Raises FrameTooLargeError before reading its body."""
        head = bytearray()
        while True:
            head += await self.read_exactly(1)
            try:
                length, _ = varint.decode(head)
                break
            except varint.IncompleteError:
                continue
        if length > limit:
            raise FrameTooLargeError(self.protocol or "stream", f"frame of {length} > {limit}")
        return await self.read_exactly(length)

    async def write_frame(self, payload: bytes) -> None:
        """Write the payload behind its length."""
        await self.write(varint.frame(payload))

    async def write(self, data: bytes) -> None:
        """Returns when all is handed to the connection and that has room again."""
        left = memoryview(data)
        while left:
            self._check_writable()
            self._writable.clear()
            sent = self._carrier.stream_send(self.stream_id, left)
            left = left[sent:]
            if not sent:
                await self._writable.wait()
            else:
                await self._carrier.drained()

    def close_write(self) -> None:
        """Half-close: the remote reads b"" after what was written."""
        if not self._write_closed and self._error is None:
            self._write_closed = True
            self._carrier.stream_close_write(self.stream_id)
            self._check_gone()

    async def close(self) -> None:
        """Close for writing and stop caring about what the remote still sends."""
        self.close_write()
        if not self._eof and self._error is None:
            asyncio.get_running_loop().call_later(_LINGER, self._give_up)

    def abort(self) -> None:
        """Reset: both directions end now and the remote sees an error."""
        if self._error is None and not (self._eof and self._write_closed):
            self._buffer.clear()
            self._fail(StreamResetError("reset by us"))
            self._carrier.stream_reset(self.stream_id)
            self._carrier.stream_gone(self.stream_id)

    @property
    def finished(self) -> bool:
        """Whether nothing can be read or written any more."""
        return self._error is not None or (self._eof and self._write_closed)

    def unread(self, data: bytes) -> None:
        """Put bytes back at the front: a negotiation read further than it needed."""
        self._buffer[:0] = data
        self._put_back += len(data)

    async def negotiate_lazily(self, machine: "Machine") -> None:
        """Send the proposal now and check the answer with the first read: saves a round trip."""
        await self.write(machine.data_to_send())
        self._negotiation = machine

    # For the connection.

    def feed(self, data: bytes) -> None:
        """Bytes arrived.  After a reset they are dropped."""
        if self._error is None:
            self._buffer += data
            self._readable.set()

    def feed_eof(self) -> None:
        """The remote writes no more."""
        self._eof = True
        self._readable.set()
        self._check_gone()

    def feed_reset(self, error: Exception) -> None:
        """The remote reset the stream, or its connection is gone."""
        if self._error is None and not (self._eof and self._write_closed):
            self._fail(error)
            self._carrier.stream_gone(self.stream_id)

    def feed_stopped(self) -> None:
        """The remote reads no more (QUIC STOP_SENDING); what it wrote can still be read."""
        self._write_closed = True
        self._writable.set()
        self._check_gone()

    def window_opened(self) -> None:
        """Writing may go on."""
        self._writable.set()

    @property
    def buffered(self) -> int:
        """Bytes received and not yet read."""
        return len(self._buffer)

    def _fail(self, error: Exception) -> None:
        self._error = error  # what had arrived in order before can still be read
        self._readable.set()
        self._writable.set()

    def _give_up(self) -> None:
        if not self._eof:
            self.abort()

    def _check_gone(self) -> None:
        if self._eof and self._write_closed and self._error is None:
            self._carrier.stream_gone(self.stream_id)

    def _check_writable(self) -> None:
        if self._error is not None:
            raise self._error
        if self._write_closed:
            raise StreamResetError("the stream is closed for writing")


# Seconds a closed stream waits for the remote's end before it is reset.
_LINGER = 5.0


class Machine(Protocol):
    """A sans-io handshake: multistream-select or Noise."""

    @property
    def done(self) -> bool: ...

    @property
    def trailing_data(self) -> bytes: ...

    def data_to_send(self) -> bytes: ...

    def receive_data(self, data: bytes) -> None: ...


async def run_machine(machine: Machine, pipe: BytePipe, name: str, received: bytes = b"") -> bytes:
    """Drive a handshake over a pipe until it is done; returns bytes that belong to what follows.

    Raises what the machine raises, and ProtocolError when the pipe ends first.
    """
    if received:
        machine.receive_data(received)
    while True:
        if out := machine.data_to_send():
            await pipe.write(out)
        if machine.done:
            return machine.trailing_data
        data = await pipe.read()
        if not data:
            raise ProtocolError(name, "the remote closed during negotiation")
        machine.receive_data(data)
