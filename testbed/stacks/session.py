"""The peer's side of the contract: reads commands, keeps the order, writes events.

A stack under test fills in `Stack`; `serve` does the rest.  It runs in a process
of its own, with the contract on file descriptors 0 and 1 and words for humans on 2.
"""

import asyncio
import gc
import os
import time
import traceback
from collections.abc import Callable
from typing import Protocol

from testbed.errors import PeerError
from testbed.model.contract import (
    ENDS,
    LINE_LIMIT,
    Ability,
    Close,
    Closed,
    Command,
    Configure,
    Dial,
    Echo,
    Echoed,
    Event,
    Failed,
    FailureClass,
    FailureDetail,
    Mode,
    Offer,
    Offered,
    Ready,
    Transport,
    Verdicts,
)
from testbed.model.contract_lines import decode_command, encode
from testbed.stacks.order import State, step

CLOSE_DEADLINE = 1.0  # seconds in which a stack has to let go, if it has nothing to settle
Emit = Callable[[Event], None]


Told = Offer | Ready | Verdicts  # what configuring ends with: of an end of a cell, the first


class PeerFailure(Exception):
    """Raised by a stack: there is no connection, and that is a result."""

    def __init__(
        self, failure: FailureClass, reason: str, detail: FailureDetail | None = None
    ) -> None:
        super().__init__(reason)
        self.detail = detail
        self.failure = failure
        self.reason = reason


class Stack(Protocol):
    """One stack, in one session.  Every method may raise PeerFailure."""

    async def gather(self, configure: Configure, emit: Emit) -> Told:
        """Open what is needed, say what was learnt, give what is to be signalled, or told."""

    async def dial(self, dial: Dial) -> Event:
        """Reach the other side; gives the `Connected` event."""

    async def echo(self, count: int, nonce: bytes) -> int:
        """How many of ``count`` bytes came back unaltered; ``nonce`` is empty if there is none."""

    async def close(self) -> None:
        """Let go of everything; also called when `gather` did not end."""


def now() -> int:
    """Nanoseconds of the clock that all peers share."""
    return time.monotonic_ns()


async def sleep_until(instant: int) -> None:
    """Return at ``instant`` (nanoseconds), or at once if that is past.

    The event loop's timers are as fine as epoll's milliseconds; the two sides of
    a punch then start within one.
    """
    await asyncio.sleep(max(0, instant - now()) / 1e9)


def refuse_unsupported(
    configure: Configure, transport: Transport, *, modes: tuple[Mode, ...], relays: bool
) -> None:
    """PeerFailure unless the stack has what it is configured for."""
    if configure.role not in ENDS:
        raise PeerFailure(FailureClass.UNSUPPORTED, f"no role {configure.role}")
    if configure.transport is not transport:
        raise PeerFailure(FailureClass.UNSUPPORTED, f"this peer speaks {transport} only")
    if configure.options.mode not in modes:
        raise PeerFailure(FailureClass.UNSUPPORTED, f"no mode {configure.options.mode}")
    if configure.options.relay_only and not relays:
        raise PeerFailure(FailureClass.UNSUPPORTED, "this peer knows no relays")


class _Session:
    def __init__(self, stack: Stack, closing: float) -> None:
        self._stack, self._closing = stack, closing
        self._state = State.START
        self._task: asyncio.Task[None] | None = None

    def emit(self, event: Event) -> None:
        self._state = step(self._state, event)
        os.write(1, encode(event))

    async def run(self) -> None:
        reader = asyncio.StreamReader(limit=LINE_LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(0, "rb"))
        while self._state is not State.CLOSED:
            command = await self._next_command(reader)
            failed = self._state is State.FAILED
            self._state = step(self._state, command)
            if isinstance(command, Close):
                await self._close()
            elif not failed:
                self._task = asyncio.create_task(self._obey(command))

    async def _next_command(self, reader: asyncio.StreamReader) -> Command:
        """The next line; a stack that crashes meanwhile ends the session."""
        line = asyncio.ensure_future(reader.readline())
        try:
            while not line.done():
                busy = {self._task} if self._task is not None else set()
                await asyncio.wait({line, *busy}, return_when=asyncio.FIRST_COMPLETED)
                if self._task is not None and self._task.done():
                    self._task.result()
                    self._task = None
        finally:
            line.cancel()
        if not line.result():
            raise PeerError("the harness went away without a word")
        return decode_command(line.result())

    async def _obey(self, command: Command) -> None:
        try:
            if isinstance(command, Configure):
                self._closing += command.extra_time
                told = await self._stack.gather(command, self.emit)
                self.emit(_offered(told) if isinstance(told, Offer) else told)
            elif isinstance(command, Dial):
                self.emit(await self._stack.dial(command))
            elif isinstance(command, Echo):
                nonce = bytes.fromhex(command.nonce or "")
                returned = await self._stack.echo(command.bytes, nonce)
                self.emit(Echoed(at=now(), bytes=returned))
        except PeerFailure as failure:
            reason = failure.reason[:1000]
            failed = Failed(at=now(), failure=failure.failure, reason=reason, detail=failure.detail)
            self.emit(failed)

    async def _close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        try:
            async with asyncio.timeout(self._closing):
                await self._stack.close()
        except TimeoutError:
            complain("the stack did not close in time")
        self.emit(Closed(at=now()))


def _offered(told: Offer) -> Offered:
    return Offered(at=now(), offer=told, accepts=(Ability.NONCE,))


def complain(words: str) -> None:
    """To descriptor 2 itself: in a fork, `sys.stderr` may still be the parent's."""
    os.write(2, words.encode() + b"\n")


def serve(stack: Callable[[], Stack], closing: float = CLOSE_DEADLINE) -> int:
    """Speak the contract until ``close``; 0, or 1 if the harness or the stack broke it.

    ``closing`` is how many seconds the stack has to let go, besides the world's extra time.
    """
    # In a fork, what the parent left as garbage must not be collected here: it would
    # close descriptors by numbers that are ours by now.
    gc.freeze()
    try:
        asyncio.run(_Session(stack(), closing).run())
    except PeerError as error:
        complain(str(error))
        return 1
    except Exception:
        complain(traceback.format_exc())
        return 1
    return 0
