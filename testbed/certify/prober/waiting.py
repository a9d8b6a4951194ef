"""Experiments that wait, side by side, and the lifetimes that they bracket.

An experiment is a generator that yields the seconds it wants to sleep and returns
its result.  A lifetime is bracketed by several mappings that are each tried once,
after different idle times, since trying refreshes.
"""

import heapq
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import TypeVar

from testbed.certify.measured import Finding, unseen
from testbed.errors import BusyError
from testbed.model.frozen import FrozenValue
from testbed.model.statement.probing import NotLetOut, Tried

T = TypeVar("T")
Waiting = Generator[float, None, T]

_LATE = 0.6  # seconds: a mapping that is refreshed more seldom may expire


class Sample(FrozenValue):
    """A mapping tried after ``idle`` seconds."""

    idle: float
    alive: bool


def together(experiments: Sequence[Waiting[None]]) -> None:
    """Run all to their ends; ProbeError when the machine cannot keep their times."""
    queue = [(time.monotonic(), number) for number in range(len(experiments))]
    while queue:
        due, number = heapq.heappop(queue)
        time.sleep(max(0.0, due - time.monotonic()))
        late = time.monotonic() - due
        if late > _LATE:
            raise BusyError(f"{late:.1f} s late: the machine is too busy to measure timers")
        with suppress(StopIteration):
            pause = next(experiments[number])
            heapq.heappush(queue, (time.monotonic() + pause, number))


def into(results: list[T], experiment: Waiting[T]) -> Waiting[None]:
    """The same experiment, its result appended to ``results``."""
    results.append((yield from experiment))


def lifetime(samples: Sequence[Sample]) -> Finding:
    """Bounds from samples: longest idle time survived, shortest not survived."""
    if not samples:
        return unseen(NotLetOut("the protocol"))
    samples = sorted(samples, key=lambda sample: sample.idle)
    alive = [sample.idle for sample in samples if sample.alive]
    dead = [sample.idle for sample in samples if not sample.alive]
    low, high = max(alive, default=0.0), min(dead, default=None)
    shown = Tried(tuple((sample.idle, sample.alive) for sample in samples))
    if high is not None and low > high:
        return Finding("inconsistent", shown)
    return Finding((round(low, 3), None if high is None else round(high, 3)), shown)
