"""What a stack does, done in another way by a process of a test.

The functions that take the place of the product's have the product's types here, in one place:
where one gets another parameter, mypy says so, and no forked peer dies of it unseen.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from testbed.model.contract import Configure, Dial, Event
from testbed.stacks.session import Emit, Stack, Told, _Session


def gathers(stack: type[Stack], how: Callable[[Any, Configure, Emit], Awaitable[Told]]) -> None:
    async def gather(self: Any, configure: Configure, emit: Emit) -> Told:
        return await how(self, configure, emit)

    stack.gather = gather  # type: ignore[method-assign]


def dials(stack: type[Stack], how: Callable[[Any, Dial], Awaitable[Event]]) -> None:
    async def dial(self: Any, dial: Dial) -> Event:
        return await how(self, dial)

    stack.dial = dial  # type: ignore[method-assign]


def echoes(stack: type[Stack], how: Callable[[Any, int, bytes], Awaitable[int]]) -> None:
    async def echo(self: Any, count: int, nonce: bytes) -> int:
        return await how(self, count, nonce)

    stack.echo = echo  # type: ignore[method-assign]


def emits(how: Callable[[_Session, Event], None]) -> None:
    def emit(self: _Session, event: Event) -> None:
        how(self, event)

    _Session.emit = emit  # type: ignore[method-assign]
