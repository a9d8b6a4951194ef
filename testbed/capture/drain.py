"""The recorder's own process: empties the rings, then writes the file in order.

While packets fly it only copies whole blocks into a nameless spool file; all
work per packet waits until the traffic is over.  Memory stays bounded by one
block per interface, whatever the length of the capture.
"""

import errno
import heapq
import json
import os
import select
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Protocol

from testbed.capture.pcapng import VantageCount, Writer, created
from testbed.capture.ring import Frame, Ring, close_all, frames, open_all, quiesce
from testbed.model.gap import Gap
from testbed.model.saved import gaps_to_json

LARGEST = 512 << 20  # bytes of packets of one run
_REORDER = 256  # packets; CPUs stamp before they queue, so neighbours may be swapped
_ALIVE_EVERY = 16384  # packets written between two signs of life
_FLAGS = (0b00101, 0b01101, 0b01001, 0b10001, 0b00010)  # epb_flags by sll_pkttype


class Spool:
    """Blocks of packets in a file without a name, which vanishes with the process."""

    def __init__(self, folder: Path, rings: int) -> None:
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - ends with us
        self._end = 0
        self._blocks: list[list[tuple[int, int, int]]] = [[] for _ in range(rings)]

    def add(self, ring: int, block: memoryview, packets: int) -> None:
        """Append a block; OSError when the disk does not take it, or it is too much."""
        if self._end + len(block) > LARGEST:
            raise OSError(errno.EFBIG, f"more than {LARGEST >> 20} MB of packets: somebody floods")
        self._blocks[ring].append((self._end, len(block), packets))
        while block:
            written = self._file.write(block)
            self._end += written
            block = block[written:]

    def frames(self, ring: int) -> Iterator[Frame]:
        """What the ring recorded, in the kernel's order."""
        for offset, length, packets in self._blocks[ring]:
            yield from frames(os.pread(self._file.fileno(), length, offset), packets)


def in_order(streams: Sequence[Iterable[Frame]]) -> Iterator[tuple[int, Frame]]:
    """(stream, frame) of all streams by time; each stream is sorted but for near neighbours."""
    heads = [_tagged(index, stream) for index, stream in enumerate(streams)]
    window: list[tuple[int, int, int, Frame]] = []
    for arrival, (time_ns, stream, frame) in enumerate(heapq.merge(*heads)):
        entry = (time_ns, arrival, stream, frame)
        if len(window) < _REORDER:
            heapq.heappush(window, entry)
        else:
            entry = heapq.heappushpop(window, entry)
            yield entry[2], entry[3]
    while window:
        entry = heapq.heappop(window)
        yield entry[2], entry[3]


def _tagged(index: int, stream: Iterable[Frame]) -> Iterator[tuple[int, int, Frame]]:
    for frame in stream:
        yield frame.time_ns, index, frame


class Witness(Protocol):
    """What else the child listens to while it records."""

    @property
    def fds(self) -> Sequence[int]:
        """What becomes readable when there is something to take."""

    def take(self, fd: int) -> None:
        """Keep what is there to be read, without waiting."""

    def finish(self) -> list[Gap]:
        """Take the rest and write it; gives what was missed.  OSError."""


class Drain:
    """Runs in the child.  Talks JSON Lines: ready, alive, then done or error."""

    def __init__(
        self,
        rings: Sequence[Ring],
        names: Sequence[str],
        path: Path,
        control: int,
        report: int,
        witness: Witness | None = None,
    ) -> None:
        self._witness = witness
        self._rings = rings
        self._names = names
        self._path = path
        self._control = control
        self._report = report

    def run(self) -> None:
        """Record until told to stop, then write the file.  The parent's end is ours too."""
        step = "cannot capture on " + ", ".join(self._names)
        try:
            open_all(self._rings)
            step = f"cannot spool packets in {self._path.parent}"
            self._spool = Spool(self._path.parent, len(self._rings))
            self._say(ready=True)
            if not self._follow():
                return
            counts = self._stop()
            closing = Thread(target=close_all, args=(self._rings,))
            closing.start()  # takes some 30 ms in the kernel, while we write
            step = f"cannot write {self._path}"
            self._write(counts)
            step = "cannot write what else was recorded"
            missed = self._witness.finish() if self._witness else []
            closing.join()
            counted = [(count.name, count.packets, count.dropped) for count in counts]
            self._say(done=counted, missed=gaps_to_json(missed))
        except OSError as error:
            self._say(error=f"{step}: {error.strerror}", errno=error.errno)
        except Exception as error:  # the process has no other way to say what broke it
            self._say(error=f"{step}: {error!r}", errno=0)

    def _say(self, **message: object) -> None:
        os.write(self._report, json.dumps(message).encode() + b"\n")

    def _follow(self) -> bool:
        """Empty the rings until told to stop; False when the parent is gone."""
        poll = select.epoll()
        poll.register(self._control, select.EPOLLIN)
        by_fd = {ring.fd: index for index, ring in enumerate(self._rings)}
        for fd in (*by_fd, *(self._witness.fds if self._witness else ())):
            poll.register(fd, select.EPOLLIN)
        while True:
            for fd, event in poll.poll():
                if fd == self._control:
                    return os.read(fd, 1) != b""
                if self._witness and fd in self._witness.fds:
                    self._witness.take(fd)
                    continue
                if event & select.EPOLLERR:
                    self._rings[by_fd[fd]].clear_error()
                self._empty(by_fd[fd])

    def _empty(self, index: int) -> None:
        self._rings[index].drain(partial(self._spool.add, index))

    def _stop(self) -> list[VantageCount]:
        quiesce(self._rings)
        for index, ring in enumerate(self._rings):
            self._empty(index)
            ring.drain_open(partial(self._spool.add, index))
        return [
            VantageCount(name, ring.taken, ring.lost())
            for name, ring in zip(self._names, self._rings, strict=True)
        ]

    def _write(self, counts: Sequence[VantageCount]) -> None:
        try:
            with created(self._path) as file:
                writer = Writer(file, self._names)
                streams = [self._spool.frames(index) for index in range(len(counts))]
                for number, (index, frame) in enumerate(in_order(streams), 1):
                    time_ns, data, length, kind = frame
                    writer.packet(index, time_ns, data, length, _FLAGS[kind])
                    if number % _ALIVE_EVERY == 0:
                        self._say(alive=number)
                now = time.time_ns()
                for index, count in enumerate(counts):
                    writer.statistics(index, now, count.packets, count.dropped)
        except OSError:
            self._path.unlink(missing_ok=True)  # half a capture must not pass for a whole one
            raise
