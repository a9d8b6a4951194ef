"""Functions in forked processes, several at once, their results over pipes.

Each has a scratch directory of its own in the sandbox, which ends with it, however that ends.
A fork shares its parent's memory until either writes to it, and every page that is written to
costs some microseconds: the first task of a process pays for thousands, the next for few.
"""

import gc
import os
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from testbed.lab import kernel, sandbox

_NUMBER = 8  # bytes of a task's number, and of an output's length


@dataclass
class _Worker:
    """A process, what it is at, and how it is talked to: a task's number, and an output."""

    slot: int
    pid: int
    orders: int
    pipe: int
    left: int  # tasks that it may still be given
    scratch: Path | None
    index: int = -1
    started: float = 0.0
    received: bytes = b""

    def begin(self, index: int) -> None:
        self.index, self.started, self.received = index, time.monotonic(), b""
        self.left -= 1
        with suppress(BrokenPipeError):  # it has died, which shows at the other pipe
            os.write(self.orders, index.to_bytes(_NUMBER))

    @property
    def whole(self) -> bool:
        """Whether all of the output is here."""
        size, rest = self.received[:_NUMBER], len(self.received) - _NUMBER
        return rest >= 0 and rest == int.from_bytes(size)

    @property
    def output(self) -> bytes:
        return self.received[_NUMBER:]


def forked(
    tasks: Sequence[Callable[[int], bytes]], jobs: int, deadline: float, *, each: int = 1
) -> Iterator[tuple[int, bytes, float]]:
    """Run every task in a forked process; (index, output, seconds) as each one ends.

    A process runs ``each`` tasks at the most, one after another.  A task is called with its
    slot, 0..jobs-1, that no other running task has.  The
    output of one that crashed, or was killed after ``deadline`` seconds, is empty
    or cut short.  The calling process must have one thread.
    """
    waiting = list(range(len(tasks)))[::-1]
    slots = list(range(jobs))[::-1]
    workers: dict[int, _Worker] = {}
    try:
        while waiting or workers:
            while waiting and slots:
                worker = _start(tasks, slots.pop(), each)
                workers[worker.pipe] = worker
                worker.begin(waiting.pop())
            for worker in _ended(workers, deadline):
                ended = worker.index, worker.output, time.monotonic() - worker.started
                if worker.whole and worker.left and waiting:
                    worker.begin(waiting.pop())
                else:
                    del workers[worker.pipe]
                    slots.append(worker.slot)
                    _reap(worker)
                yield ended
    finally:
        for worker in workers.values():
            _reap(worker)


class Beside:
    """One task in a fork of its own, while the calling process, of one thread, goes on.

    ``deadline`` is in seconds; what is put out by a task that crashed, or took longer, is empty or
    cut short.  Leaving the context ends it.
    """

    def __init__(self, task: Callable[[], bytes], deadline: float) -> None:
        self._deadline = deadline
        worker = _start([lambda _slot: task()], 0, 1)
        worker.begin(0)
        self._workers = {worker.pipe: worker}
        self._output: bytes | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers.values():
            _reap(worker)

    def output(self, *, wait: bool) -> bytes | None:
        """All of its output; None if it has not ended yet and nobody wants to ``wait``."""
        while self._output is None and (wait or _heard(self._workers)):
            for worker in _ended(self._workers, self._deadline):
                self._output = worker.output
                del self._workers[worker.pipe]
                _reap(worker)
        return self._output


def _heard(workers: dict[int, _Worker]) -> bool:
    """Whether any of them has put something out, or ended."""
    return bool(select.select(list(workers), [], [], 0)[0])


def _start(tasks: Sequence[Callable[[int], bytes]], slot: int, each: int) -> _Worker:
    (taken, orders), (reader, writer) = os.pipe(), os.pipe()
    scratch = sandbox.inner_scratch() if sandbox.inside() else None
    pid = os.fork()
    if pid == 0:
        code = 1
        gc.freeze()  # to visit the parent's objects would copy them all, and could close files
        try:
            kernel.die_with_parent(signal.SIGKILL)
            os.close(orders)
            os.close(reader)
            for _ in range(each):
                if not (order := os.read(taken, _NUMBER)):
                    break
                index = int.from_bytes(order)
                with _own_scratch(scratch):
                    output = _told(tasks[index], slot)
                _put(writer, len(output).to_bytes(_NUMBER) + output)
            code = 0
        finally:
            os._exit(code)  # nothing of the parent's may run twice
    os.close(taken)
    os.close(writer)
    return _Worker(slot, pid, orders, reader, each, scratch)


def _told(task: Callable[[int], bytes], slot: int) -> bytes:
    try:
        return task(slot)
    except Exception:  # told before the pipe's end, at which it may be killed
        traceback.print_exc()
        sys.stderr.flush()
        raise


def _put(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


@contextmanager
def _own_scratch(scratch: Path | None) -> Iterator[None]:
    """A directory for one task, below the process's own."""
    if scratch is None:
        yield
        return
    sandbox.use_scratch(scratch)
    place = sandbox.inner_scratch()
    sandbox.use_scratch(place)
    yield
    _clear(place)


def _ended(workers: dict[int, _Worker], deadline: float) -> list[_Worker]:
    """Wait for output; the workers whose task has ended, or else is late."""
    poll = select.poll()
    for pipe in workers:
        poll.register(pipe, select.POLLIN)
    oldest = min(worker.started for worker in workers.values())
    ended = []
    for pipe, _ in poll.poll(max(0.0, oldest + deadline - time.monotonic()) * 1000):
        data = os.read(pipe, 1 << 16)
        workers[pipe].received += data
        if not data or workers[pipe].whole:
            ended.append(workers[pipe])
    late = time.monotonic() - deadline
    return ended or [worker for worker in workers.values() if worker.started <= late]


def _reap(worker: _Worker) -> None:
    """End it, if it still runs."""
    with suppress(ProcessLookupError):
        os.kill(worker.pid, signal.SIGKILL)
    os.close(worker.pipe)
    os.close(worker.orders)
    os.waitpid(worker.pid, 0)
    if worker.scratch is not None:
        _clear(worker.scratch)


def _clear(scratch: Path) -> None:
    """What is mounted there belongs to others, and must not be removed through the mount."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    if f" {scratch}/" not in mounts:
        shutil.rmtree(scratch, ignore_errors=True)
