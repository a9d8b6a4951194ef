"""A stream as its user sees it, whatever carries it (Yamux or QUIC)."""

import asyncio
import contextlib
from typing import Protocol

from .. import varint
from ..errors import (
    FrameTooLargeError,
    LimitError,
    ProtocolError,
    StreamResetError,
    TraversalError,
)
from .proposal import Proposal


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

    def silent_for(self) -> float | None:
        """Seconds since the remote's machine last said something; None where nobody knows."""


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
    task each.  `protocol` is set once it is negotiated, or proposed: see `propose`.
    """

    def __init__(self, carrier: Carrier, stream_id: int) -> None:
        self.stream_id = stream_id
        self.protocol = ""
        self.theirs = False  # opened by the remote
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
        self._proposal: Proposal | None = None

    # For the user.

    async def read(self, limit: int = 65536) -> bytes:
        """At most `limit` bytes, as soon as there are any; b"" at the end.

        Raises StreamResetError, ConnectionClosedError, or LimitError when too much of this peer
        or node waits to be read; after `propose` also what `agreed` raises.
        """
        while not self._buffer:
            if self._eof:
                return b""
            if self._read_error is not None:
                raise self._tell(self._read_error)
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

        Raises StreamResetError, ConnectionClosedError; after `propose` also what `agreed` raises.
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

        `wait_closed` waits for that.  After `propose` this waits for the answer, since a remote
        whose answer nobody reads may drop what is behind the proposal; a refusal that the user
        does not know of is raised: NegotiationError, ProtocolError, DeadlineError.
        """
        self.close_write()
        try:
            if self._proposal is not None:
                await self._proposal.wait_quietly()
        finally:
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
        if self._proposal is not None:
            self._proposal.failed(error)
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

    def silent_for(self) -> float | None:
        """Not known: what carries it may have many others."""
        return None

    def unread(self, data: bytes) -> None:
        """Put bytes back at the front: a negotiation read further than it needed."""
        self._buffer[:0] = data
        self._put_back += len(data)

    async def propose(self, protocol: str, patience: float) -> None:
        """Propose one protocol; the user may write behind it at once, which saves a round trip.

        The remote has `patience` seconds to answer.  The first read, write or `close` after a
        refusal raises it.
        """
        self.protocol = protocol
        self._proposal = Proposal(protocol, patience, self._abort)
        await self.write(self._proposal.data_to_send())

    async def agreed(self) -> None:
        """Until the remote has agreed to what was proposed.

        Raises NegotiationError when it refuses, ProtocolError when it says something else,
        DeadlineError when it is late, ConnectionClosedError.
        """
        if self._proposal is not None:
            await self._proposal.wait()

    # For the connection.

    def feed(self, data: bytes) -> None:
        """Bytes arrived.  After the end of reading they are dropped.

        Where too many wait for their readers already, the stream is reset.
        """
        if self._read_over:
            return
        if self._negotiating is not None:
            data = self._take_answer(self._negotiating, data)
            if not data:
                return
        if not self._carrier.hold(len(data)):
            self._abort(LimitError("too many bytes wait for their readers"))
            return
        self._held += len(data)
        self._buffer += data
        self._readable.set()

    def feed_eof(self) -> None:
        """The remote writes no more."""
        if self._negotiating is not None and not self._read_over:
            self._abort(self._negotiating.refused(None))
        if not self._read_over:
            self._eof = True
            self._readable.set()
            self._check_gone()

    def feed_abandoned(self, error: Exception) -> None:
        """The remote dropped what it had not written yet (QUIC RESET_STREAM)."""
        if not self._read_over:
            self._read_error = self._refused(error)
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
        self._fail(self._refused(error))
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

    @property
    def _negotiating(self) -> Proposal | None:
        """What the remote has not answered yet."""
        proposal = self._proposal
        return proposal if proposal is not None and proposal.pending else None

    def _take_answer(self, proposal: Proposal, data: bytes) -> bytes:
        """What is behind the answer, if that came."""
        try:
            rest = proposal.receive_data(data)
        except TraversalError as error:
            self._abort(error)
            return b""
        self._carrier.stream_consumed(self.stream_id, len(data) - len(rest))
        return rest

    def _refused(self, error: Exception) -> Exception:
        return error if self._negotiating is None else self._negotiating.refused(error)

    def _tell(self, error: Exception) -> Exception:
        if self._proposal is not None:
            self._proposal.told()
        return error

    def _check_writable(self) -> None:
        if self._write_error is not None:
            raise self._tell(self._write_error)
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

    Raises what the machine raises, once it is sent what the machine said before: that a protocol
    is not available, or an alert.  Raises ProtocolError when the pipe ends first.
    """
    try:
        return await _run(machine, pipe, name, received)
    except ProtocolError:
        with contextlib.suppress(TraversalError, OSError):
            if out := machine.data_to_send():
                await pipe.write(out)
        raise


async def _run(machine: Machine, pipe: BytePipe, name: str, received: bytes) -> bytes:
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
