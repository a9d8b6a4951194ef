"""Peers in forks of this process: a coroutine to run, lines to say, a deadline to hear them."""

import asyncio
import gc
import os
import select
import time
from collections.abc import Callable, Coroutine

from testbed.errors import TestbedError
from testbed.model.lab import Process

DEADLINE = 60.0  # seconds, of a peer's life
LAST_WORDS = 2000  # bytes


def serve(work: Callable[[], Coroutine[None, None, None]]) -> int:
    """What the fork runs; see `testbed.model.lab.Lab.spawn`."""
    gc.freeze()  # as in `testbed.stacks.session.serve`
    asyncio.run(_limited(work))
    return 0


async def _limited(work: Callable[[], Coroutine[None, None, None]]) -> None:
    async with asyncio.timeout(DEADLINE):
        await work()


async def forever() -> None:
    """Until the process is killed, or its time is over."""
    await asyncio.get_running_loop().create_future()


def tell(line: str) -> None:
    """In the fork: a line for `hear`."""
    os.write(1, line.encode() + b"\n")


def hear(process: Process, end: float) -> str:
    """The next line, until ``end`` of the monotonic clock.

    TestbedError, with its last words, when the process ends or is silent.
    """
    line = b""
    while not line.endswith(b"\n"):
        left = max(0.0, end - time.monotonic())
        if not select.select([process.stdout], [], [], left)[0]:
            raise TestbedError("a peer is silent")
        more = os.read(process.stdout.fileno(), 1)
        if not more:
            words = process.stderr.read()[-LAST_WORDS:].decode(errors="replace")
            raise TestbedError(f"a peer ended: {words}")
        line += more
    return line.decode().strip()
