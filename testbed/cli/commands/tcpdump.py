"""`testbed tcpdump`: the packets of a node of a lab that is up, as they pass."""

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Protocol

from testbed.capture.pcapng import SNAP_LENGTH, Writer
from testbed.errors import CaptureError, Exit, UsageError
from testbed.evidence.labels import label
from testbed.lab import attach
from testbed.lab.tap import Seen, Tap, tap
from testbed.model.packet import NOWHERE, Endpoint, Packet, decode

STDOUT = "-"
_INWARD, _OUTWARD = 1, 2  # epb_flags


class _Sink(Protocol):
    """Where frames go; its methods raise OSError when what they write is not taken."""

    fd: int  # whose reader may go away

    def packet(self, seen: Seen) -> None:
        """One more."""

    def finish(self, lost: int) -> None:
        """No more will come."""


def follow(
    node: str, ifname: str | None, target: str | None, count: int | None, word: str | None
) -> int:
    """Show, or write to ``target``, what passes in ``node``; the exit code.

    Until Ctrl-C, the end of the lab, ``count`` packets, or until nobody reads any more.
    """
    lab = attach.choose(word)
    with _opened(target) as out, tap(lab, node, ifname) as watched:
        names = {name: f"{node}:{name}" for name in watched.interfaces}
        print(f"testbed: watching {', '.join(names.values())}", file=sys.stderr)
        packets = _passed_on(watched, target, out, names, count)
        if watched.ended:
            print("testbed: the lab has gone", file=sys.stderr)
    print(f"testbed: {packets} packets", file=sys.stderr)
    return int(Exit.AGREED)


def _passed_on(
    watched: Tap, target: str | None, out: int, names: Mapping[str, str], count: int | None
) -> int:
    """How many frames went from the tap to the sink."""
    packets = 0
    try:
        sink: _Sink = _File(out, names) if target else _Lines(out, names)
        with closing(watched.frames(out)) as frames:
            for packets, seen in enumerate(frames, 1):
                sink.packet(seen)
                if packets == count:
                    break
        if lost := watched.lost():
            print(f"testbed: {lost} packets came too fast and are lost", file=sys.stderr)
        sink.finish(lost)
    except BrokenPipeError:
        pass  # the reader has seen enough
    except OSError as error:
        raise CaptureError(f"cannot write {target}: {error.strerror}") from error
    return packets


@contextmanager
def _opened(target: str | None) -> Iterator[int]:
    """A descriptor to write to.  A named pipe waits here for its reader."""
    if target in (None, STDOUT):
        if target and os.isatty(1):
            raise UsageError(
                "packets are no sight for a terminal",
                remedy="testbed tcpdump NODE -w - | wireshark -k -i -",
            )
        yield 1
        return
    try:
        out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(f"{target}: {error.strerror}", remedy="choose another file") from error
    try:
        yield out
    finally:
        os.close(out)


class _File:
    """pcapng, each packet written as it comes.  A file that was ended orderly is whole."""

    def __init__(self, fd: int, names: Mapping[str, str]) -> None:
        self.fd = fd
        self._writer = Writer(self, list(names.values()))
        self._index = {name: index for index, name in enumerate(names)}
        self._counts = [0] * len(names)

    def write(self, data: bytes) -> None:
        """All of it, though a signal came between."""
        while data:
            data = data[os.write(self.fd, data) :]

    def packet(self, seen: Seen) -> None:
        index = self._index[seen.ifname]
        self._counts[index] += 1
        flags = _OUTWARD if seen.outgoing else _INWARD
        kept = seen.data[:SNAP_LENGTH]
        self._writer.packet(index, seen.time_ns, kept, len(seen.data), flags)

    def finish(self, lost: int) -> None:
        """The kernel counts what was lost for all interfaces at once: the first bears it."""
        for index, packets in enumerate(self._counts):
            self._writer.statistics(index, time.time_ns(), packets, 0 if index else lost)


class _Lines:
    """A line a packet, for people."""

    def __init__(self, fd: int, names: Mapping[str, str]) -> None:
        self.fd = fd
        self._names = names
        self._shown = 0
        self._width = max(map(len, names.values()))

    def packet(self, seen: Seen) -> None:
        vantage = self._names[seen.ifname]
        size = len(seen.data)
        self._shown += 1
        packet = decode(self._shown, vantage, seen.time_ns, seen.outgoing, seen.data, size)
        print(line(packet, self._width), flush=True)

    def finish(self, lost: int) -> None:
        """Nothing is owed."""


def line(packet: Packet, width: int = 0) -> str:
    """One packet in words: when, where, which way, from whom to whom, and what it says.

    ``width`` is the room for the place.  The words of strangers cannot steer a terminal.
    """
    seconds, rest = divmod(packet.time_ns, 10**9)
    clock = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest // 1000:06}"
    way = "out" if packet.outgoing else "in"
    read = label(packet)
    ends = (
        "" if packet.source == NOWHERE else f"{_end(packet.source)} > {_end(packet.destination)}  "
    )
    text = f"{clock} {packet.vantage:{width}} {way:3} {ends}{read.protocol}: {read.text}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _end(endpoint: Endpoint) -> str:
    return str(endpoint) if endpoint.port else str(endpoint.address)
