"""Functions in forked processes, several at once, their results over pipes."""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from testbed.lab import kernel


@dataclass
class _Worker:
    index: int
    slot: int
    pid: int
    pipe: int
    started: float
    received: bytes = b""


def forked(
    tasks: Sequence[Callable[[int], bytes]], jobs: int, deadline: float
) -> Iterator[tuple[int, bytes, float]]:
    """Run every task in a fork of its own; (index, output, seconds) as each one ends.

    A task is called with its slot, 0..jobs-1, that no other running task has.  The
    output of one that crashed, or was killed after ``deadline`` seconds, is empty
    or cut short.  The calling process must have one thread.
    """
    waiting = list(enumerate(tasks))[::-1]
    slots = list(range(jobs))[::-1]
    workers: dict[int, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and slots:
                worker = _start(*waiting.pop(), slots.pop())
                workers[worker.pipe] = worker
            for worker in _ended(workers, deadline):
                del workers[worker.pipe]
                slots.append(worker.slot)
                _reap(worker)
                yield worker.index, worker.received, time.monotonic() - worker.started
    finally:
        for worker in workers.values():
            _reap(worker)


def _start(index: int, task: Callable[[int], bytes], slot: int) -> _Worker:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            kernel.die_with_parent(signal.SIGKILL)
            os.close(reader)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(task(slot))
            code = 0
        finally:
            os._exit(code)  # nothing of the parent's may run twice
    os.close(writer)
    return _Worker(index, slot, pid, reader, time.monotonic())


def _ended(workers: dict[int, _Worker], deadline: float) -> list[_Worker]:
    """Wait for output; the workers that have closed their pipe, or else are late."""
    poll = select.poll()
    for pipe in workers:
        poll.register(pipe, select.POLLIN)
    oldest = min(worker.started for worker in workers.values())
    ended = []
    for pipe, _ in poll.poll(max(0.0, oldest + deadline - time.monotonic()) * 1000):
        data = os.read(pipe, 1 << 16)
        workers[pipe].received += data
        if not data:
            ended.append(workers[pipe])
    late = time.monotonic() - deadline
    return ended or [worker for worker in workers.values() if worker.started <= late]


def _reap(worker: _Worker) -> None:
    """End it, if it still runs."""
    with suppress(ProcessLookupError):
        os.kill(worker.pid, signal.SIGKILL)
    os.close(worker.pipe)
    os.waitpid(worker.pid, 0)
