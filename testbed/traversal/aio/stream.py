"""A stream as its user sees it, whatever carries it (Yamux or QUIC)."""

import asyncio
from typing import Protocol

from .. import varint
from ..errors import FrameTooLargeError, LimitError, ProtocolError, StreamResetError


class BytePipe(Protocol):
    """A reliable byte stream in both directions: a TCP socket, or a stream used as one."""

    async def read(self) -> bytes:
        """Some bytes, or b"" at the end."""

    async def write(self, data: bytes) -> None:
        """Returns when the pipe can take more.  Raises when it is broken."""

    async def end(self) -> None:
        """Flush, and write no more: the remote reads what was written and then the end."""

    def abort(self) -> None:
        """Drop everything now."""

    @property
    def undelivered(self) -> int:
        """Bytes written of which it is not known that the remote has them."""


class Carrier(Protocol):
    """What a connection does for its streams."""

    def stream_send(self, stream_id: int, data: memoryview) -> int:
        """Take bytes; fewer than offered when a window or a buffer is full."""

    def hold(self, count: int) -> bool:
        """Whether so many bytes more may wait for a reader."""

    def release(self, count: int) -> None:
        """Bytes that `hold` allowed wait no more."""

    def stream_consumed(self, stream_id: int, count: int) -> None:
        """The user took bytes: flow control may give the remote room."""

    def stream_close_write(self, stream_id: int) -> None:
        """No more bytes from us."""

    def stream_close_read(self, stream_id: int) -> None:
        """We read no more: what still arrives is dropped, and the remote told."""

    def stream_reset(self, stream_id: int) -> None:
        """Both directions end now."""

    def stream_undelivered(self, stream_id: int) -> int:
        """Bytes of the stream of which it is not known that they have arrived; its end counts."""

    def stream_gone(self, stream_id: int) -> None:
        """The stream has ended in both directions."""

    async def drained(self) -> None:
        """Wait until the connection has written most of what it holds, or is gone."""

    async def delivered(self, stream_id: int) -> None:
        """Wait until nothing of the stream is undelivered, or the connection is gone."""


class Stream:
    """Bytes in order, with flow control; also a BytePipe.

    Each direction ends on its own (RFC 9000 section 3).  What arrived before the end can be
    read after it, also when the connection is gone since.  Reading and writing are for one
    task each.  `protocol` is set once negotiated.
    """

    def __init__(self, carrier: Carrier, stream_id: int) -> None:
        self.stream_id = stream_id
        self.protocol = ""
        self._carrier = carrier
        self._buffer = bytearray()
        self._put_back = 0  # bytes at the buffer's front that the remote was credited for
        self._held = 0  # of the connection's memory
        self._eof = False
        self._read_closed = False
        self._write_closed = False
        self._read_error: Exception | None = None
        self._write_error: Exception | None = None
        self._gone = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._negotiation: Machine | None = None

    # For the user.

    async def read(self, limit: int = 65536) -> bytes:
        """At most `limit` bytes, as soon as there are any; b"" at the end.

        Raises StreamResetError, ConnectionClosedError, or LimitError when too much of this peer
        or node waits to be read; after `negotiate_lazily` also NegotiationError.
        """
        if self._negotiation is not None:
            machine, self._negotiation = self._negotiation, None
            self.unread(await run_machine(machine, self, "multistream"))
        while not self._buffer:
            if self._eof:
                return b""
            if self._read_error is not None:
                raise self._read_error
            self._readable.clear()
            await self._readable.wait()
        data = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        credited = min(self._put_back, len(data))
        self._put_back -= credited
        self._release(len(data) - credited)
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
        """Returns when all is handed to the connection and that has room again.

        Raises StreamResetError, ConnectionClosedError.
        """
        left = memoryview(data)
        self._check_writable()
        while left:
            self._writable.clear()
            sent = self._carrier.stream_send(self.stream_id, left)
            left = left[sent:]
            if not sent:
                await self._writable.wait()
            else:
                await self._carrier.drained()
            self._check_writable()

    def close_write(self) -> None:
        """Half-close: the remote reads b"" after what was written."""
        if not self._write_over:
            self._write_closed = True
            self._writable.set()
            self._carrier.stream_close_write(self.stream_id)
            self._check_gone()

    def close_read(self) -> None:
        """Drop what was not read and what the remote still writes, which it may learn."""
        if not self._read_over:
            self._carrier.stream_consumed(self.stream_id, len(self._buffer) - self._put_back)
            self._carrier.stream_close_read(self.stream_id)
        if not self._read_closed:
            self._read_closed = True
            self._eof = False
            self._buffer.clear()
            self._release(self._held)
            self._read_error = StreamResetError("the stream is closed for reading")
            self._readable.set()
            self._check_gone()

    async def close(self) -> None:
        """Read no more; what was written is delivered, also after this has returned.

        `wait_closed` waits for that.
        """
        self.close_write()
        self.close_read()

    async def end(self) -> None:
        """`close_write`, as a BytePipe has it."""
        self.close_write()

    async def wait_closed(self) -> None:
        """Until the remote's machine has all that was written.

        Raises StreamResetError or ConnectionClosedError when it is not.
        """
        await self._carrier.delivered(self.stream_id)
        if self._write_error is not None:
            raise self._write_error

    def abort(self) -> None:
        """Reset: both directions end now and the remote sees an error."""
        self._abort(StreamResetError("reset by us"))

    def _abort(self, error: Exception) -> None:
        if not (self._read_over and self._write_over):
            self._buffer.clear()
            self._release(self._held)
            self._eof = False
            self._fail(error)
            self._carrier.stream_reset(self.stream_id)
            self._check_gone()

    @property
    def finished(self) -> bool:
        """Whether nothing can arrive and nothing be written any more."""
        return self._read_over and self._write_over

    @property
    def undelivered(self) -> int:
        """Bytes written of which it is not known that the remote has them."""
        return self._carrier.stream_undelivered(self.stream_id)

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
        """Bytes arrived.  After the end of reading they are dropped.

        Where too many wait for their readers already, the stream is reset.
        """
        if self._read_over:
            return
        if not self._carrier.hold(len(data)):
            self._abort(LimitError("too many bytes wait for their readers"))
            return
        self._held += len(data)
        self._buffer += data
        self._readable.set()

    def feed_eof(self) -> None:
        """The remote writes no more."""
        if not self._read_over:
            self._eof = True
            self._readable.set()
            self._check_gone()

    def feed_abandoned(self, error: Exception) -> None:
        """The remote dropped what it had not written yet (QUIC RESET_STREAM)."""
        if not self._read_over:
            self._read_error = error
            self._readable.set()
            self._check_gone()

    def feed_stopped(self, error: Exception) -> None:
        """The remote reads no more (QUIC STOP_SENDING); what it wrote can still be read."""
        if self._write_error is None:  # also of a stream that we have closed, if bytes were left
            self._write_error = error
            self._writable.set()
            self._check_gone()

    def feed_reset(self, error: Exception) -> None:
        """The remote reset the stream, or its connection is gone."""
        self._fail(error)
        self._check_gone()

    def window_opened(self) -> None:
        """Writing may go on."""
        self._writable.set()

    @property
    def buffered(self) -> int:
        """Bytes received and not yet read."""
        return len(self._buffer)

    # Private.

    @property
    def _read_over(self) -> bool:
        return self._eof or self._read_closed or self._read_error is not None

    @property
    def _write_over(self) -> bool:
        return self._write_closed or self._write_error is not None

    def _release(self, count: int) -> None:
        self._held -= count
        self._carrier.release(count)

    def _fail(self, error: Exception) -> None:
        if not self._read_over:
            self._read_error = error  # what had arrived in order before can still be read
        if not self._write_over:
            self._write_error = error
        self._readable.set()
        self._writable.set()

    def _check_gone(self) -> None:
        if self.finished and not self._gone:
            self._gone = True
            self._carrier.stream_gone(self.stream_id)

    def _check_writable(self) -> None:
        if self._write_error is not None:
            raise self._write_error
        if self._write_closed:
            raise StreamResetError("the stream is closed for writing")


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
