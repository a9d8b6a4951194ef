"""The peer under test: a process, every line of it looked at as it comes."""

import asyncio
import contextlib
import json
import os
import signal
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path

from testbed.lab import kernel
from testbed.model.contract import LINE_LIMIT, Close, Closed, Command, Configure, Event
from testbed.model.contract_lines import Fault, MalformedError, decode_event, encode
from testbed.model.frozen import FrozenValue
from testbed.model.peer_check import BrokenRule, Rule, Scene
from testbed.stacks.client import Kinds
from testbed.stacks.order import TRANSITIONS, State, name_of
from testbed.stacks.remarks import Remarks

UNKNOWN = "?"  # no event is called so
SHOWN = 120  # characters of a line that breaks a rule
_SLACK = 50_000_000  # nanoseconds by which a peer's clock may differ: it may count milliseconds
_HELD = 1_000_000_000  # nanoseconds: what is told later than that after it happened was held back
_STARVED = 1.0  # of a deadline: who waited so long for a processor could not keep it
_GRAIN = 0.02  # seconds of such waiting that are not worth another look
_RULES = {
    Fault.TOO_LONG: Rule.LINE_TOO_LONG,
    Fault.NOT_JSON: Rule.LINE_NOT_JSON,
    Fault.UNKNOWN_MESSAGE: Rule.EVENT_UNKNOWN,
    Fault.MISSING_FIELD: Rule.FIELD_MISSING,
    Fault.UNKNOWN_FIELD: Rule.FIELD_UNKNOWN,
    Fault.WRONG_VALUE: Rule.FIELD_WRONG,
}


class Heard(FrozenValue):
    """An event and when it was read (nanoseconds, CLOCK_MONOTONIC)."""

    event: Event
    arrived: int


class Ended(Exception):
    """The conversation is over: the peer has ended, or is not understood any more."""


class Child:
    """One process in one scene; ``broken`` grows as it talks."""

    def __init__(self, process: Process, scene: Scene) -> None:
        self.scene = scene
        self.broken: list[BrokenRule] = []
        self.starved = False  # it missed a deadline for want of a processor
        self.heard: list[Heard] = []
        self.remarks = Remarks()
        self._process = process
        self._state = State.START
        self._taken = 0
        self._since = 0  # when it was configured
        self._over = False  # its stdout has ended
        self._refused: set[str] = set()  # events that it said as they may not be said
        self._news = asyncio.Condition()
        self._reading = [asyncio.create_task(self._read()), asyncio.create_task(self._drain())]

    @classmethod
    async def start(cls, argv: Sequence[str], scene: Scene) -> "Child":
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            limit=LINE_LIMIT,
            process_group=0,
            preexec_fn=lambda: kernel.die_with_parent(signal.SIGKILL),  # we have one thread
        )
        return cls(process, scene)

    def blame(self, rule: Rule, **facts: str | int | float) -> None:
        """Note a broken rule, once for the same event and field."""
        one = BrokenRule(rule, self.scene, **facts)  # type: ignore[arg-type]
        if not any((b.rule, b.event, b.field) == (rule, one.event, one.field) for b in self.broken):
            self.broken.append(one)

    @property
    def events(self) -> list[Event]:
        return [heard.event for heard in self.heard]

    async def send(self, command: Command) -> None:
        """Say ``command``; what the peer does not read is found out by the answer that lacks."""
        if isinstance(command, Configure):
            self._since = time.monotonic_ns()
        self._state = TRANSITIONS.get((self._state, name_of(command)), self._state)
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(encode(command))
            await self._process.stdin.drain()

    async def wait(self, kinds: Kinds, seconds: float, *, asked: str) -> Event:
        """The next event of one of ``kinds``; Ended, with the broken rule noted, if none comes.

        ``asked`` is what it would answer.  Time for which it waited for a processor is given to it
        on top; where that is more than the deadline itself, it is not to blame.
        """
        began, before, allowed = time.monotonic(), self.waited_for_processor(), seconds
        while not await self._settled(kinds, began + allowed):
            waited = self.waited_for_processor() - before
            if waited > seconds * _STARVED:
                self.starved = True
                raise Ended
            if seconds + waited < allowed + _GRAIN:
                await self._missed(kinds, seconds, asked)
                raise Ended
            allowed = seconds + waited
        event = self._next(kinds)
        if event is None and self._answered_ill(kinds):
            raise Ended
        if event is None:
            code = await self._code(1.0)
            self.blame(Rule.EXITED_EARLY, event=asked, found="none" if code is None else code)
            raise Ended
        self._taken = self.events.index(event, self._taken) + 1
        return event

    def _next(self, kinds: Kinds) -> Event | None:
        return next((e for e in self.events[self._taken :] if isinstance(e, kinds)), None)

    async def _settled(self, kinds: Kinds, deadline: float) -> bool:
        """Wait until there is an answer, or will be none; False at ``deadline``."""
        try:
            async with asyncio.timeout(deadline - time.monotonic()), self._news:
                await self._news.wait_for(
                    lambda: self._next(kinds) is not None or self._over or self._answered_ill(kinds)
                )
        except TimeoutError:
            return False
        return True

    def _answered_ill(self, kinds: Kinds) -> bool:
        """Whether the answer came, and was refused: no other will come.

        An event that there is not may be meant for any.
        """
        names = {str(kind.model_fields["event"].default) for kind in kinds}
        return not self._refused.isdisjoint({UNKNOWN, *names})

    async def _missed(self, kinds: Kinds, seconds: float, asked: str) -> None:
        """Nothing came in time: was it said, and lies in a buffer that the end will flush?"""
        if asked == name_of(Close()):
            self.blame(Rule.CLOSE_IGNORED, expected=seconds)
            return
        before = len(self.broken)
        await self.send(Close())
        self._hang_up()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2.0):
                await asyncio.wait(self._reading[:1])
        late = [h for h in self.heard if isinstance(h.event, kinds)]
        if any(h.arrived - h.event.at > _HELD for h in late[-1:]):
            del self.broken[before:]  # of the same cause
            self.blame(Rule.STDOUT_BUFFERED, event=name_of(late[-1].event))
        else:
            self.blame(Rule.NO_ANSWER, event=asked, expected=seconds)

    def waited_for_processor(self) -> float:
        """Seconds for which it could have run, and did not, since it was started."""
        return waited_for_processor(self._process.pid)

    async def close(self, closing: float, exiting: float) -> None:
        """Say `close`, and see that the peer goes as it has to."""
        await self.send(Close())
        with contextlib.suppress(Ended):
            await self.wait((Closed,), closing, asked=name_of(Close()))
            await self._gone(exiting)

    async def _gone(self, seconds: float) -> None:
        code = await self._code(seconds)
        if code is None:
            self.blame(Rule.STILL_RUNNING, expected=seconds)
        elif code != 0:
            self.blame(Rule.EXIT_CODE, expected=0, found=code)

    async def orphan(self, seconds: float) -> None:
        """End its stdin: it has to end, too."""
        self._hang_up()
        if await self._code(seconds) is None:
            self.blame(Rule.OUTLIVED_STDIN, expected=seconds)

    def _hang_up(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.close()

    async def _code(self, seconds: float) -> int | None:
        try:
            async with asyncio.timeout(seconds):
                return await self._process.wait()
        except TimeoutError:
            return None

    async def stop(self) -> None:
        """End it and all that it started, and read what is left."""
        for _ in range(2):  # after the first only what ended by itself has been reaped
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()
        self._hang_up()
        _, pending = await asyncio.wait(self._reading, timeout=1.0)
        for task in pending:  # somebody else holds the pipes
            task.cancel()
        if pending:
            await asyncio.wait(pending)
        for task in self._reading:
            if not task.cancelled():
                task.result()

    # What it writes.

    async def _drain(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(LINE_LIMIT):
            self.remarks.take(data)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        rest = b""
        while data := await self._process.stdout.read(LINE_LIMIT):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > LINE_LIMIT:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._take(line)
            async with self._news:
                self._news.notify_all()
        if rest:
            self.blame(Rule.LINE_UNFINISHED, found=_shown(rest))
        self._over = True
        async with self._news:
            self._news.notify_all()

    def _take(self, line: bytes) -> None:
        arrived = time.monotonic_ns()
        if self._state is State.CLOSED:
            self.blame(Rule.OUTPUT_AFTER_CLOSED, found=_shown(line))
            return
        try:
            event = decode_event(line)
        except MalformedError as error:
            self._malformed(line, error)
            return
        state = TRANSITIONS.get((self._state, name_of(event)))
        if state is None:
            self.blame(Rule.OUT_OF_ORDER, event=name_of(event), found=self._state.value)
            return
        self._state = state
        if not self._since - _SLACK <= event.at <= arrived + _SLACK:
            off = round((event.at - arrived) / 1e9, 3)
            self.blame(Rule.CLOCK_OFF, event=name_of(event), found=off)
        self.heard.append(Heard(event, arrived))

    def _malformed(self, line: bytes, error: MalformedError) -> None:
        rule = _RULES[error.fault]
        named = error.named
        if error.fault is Fault.TOO_LONG:
            self.blame(rule, expected=LINE_LIMIT, found=len(line))
            return
        self._refused.add(UNKNOWN if error.fault is Fault.UNKNOWN_MESSAGE else named)
        if error.fault is Fault.UNKNOWN_MESSAGE:
            named = str(json.loads(line).get("event", ""))[:SHOWN]
        if error.fault is Fault.WRONG_VALUE:
            self.blame(rule, event=named, field=error.field, expected=error.due, found=error.found)
            return
        self.blame(rule, event=named, field=error.field, found=_shown(line))


def waited_for_processor(process: int) -> float:
    """Seconds for which threads of ``process`` could have run, and did not, since each began."""
    total = 0
    for thread in Path(f"/proc/{process}/task").glob("*/schedstat"):
        try:
            total += int(thread.read_text("ascii").split()[1])
        except (OSError, IndexError, ValueError):  # it has ended, or this kernel does not count
            continue
    return total / 1e9


def _shown(line: bytes) -> str:
    text = line.decode(errors="replace")
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
