"""The pcapng file of a capture: one interface per vantage point (draft-ietf-opsawg-pcapng).

Only what a capture needs: one section, Ethernet, nanoseconds, the direction of
each packet, and at the end one statistics block per interface.  A file without
its statistics blocks was not finished, and `Reading` says so.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from testbed.model.frozen import FrozenValue

SNAP_LENGTH = 2048  # bytes kept of a frame; the file says how long a longer one was
LINKTYPE_ETHERNET = 1
NANOSECONDS = 9  # if_tsresol: 10 ** -9

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER = 0x1A2B3C4D
_AT_ONCE = 1 << 20  # bytes of a file that are read
_LENGTH_UNKNOWN = 0xFFFFFFFFFFFFFFFF
_END_OF_OPTIONS = b"\0\0\0\0"
_BLOCK = struct.Struct("<II")
_PACKET_HEAD = struct.Struct("<7I")
_PACKET_BODY = struct.Struct("<5I")
_FLAGS = struct.Struct("<I")
_PACKET_TAIL = struct.Struct("<HHIII")  # epb_flags, end of options, block length
_DIRECTION = struct.pack("<HH", 2, 4)  # how the option epb_flags begins
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")  # to four bytes, by length % 4


class VantageCount(FrozenValue):
    """What was seen at one interface: ``packets`` in the file, ``dropped`` before it."""

    name: str
    packets: int
    dropped: int


class Recording(FrozenValue):
    """A finished capture file and how complete it is."""

    path: Path
    counts: tuple[VantageCount, ...]

    @property
    def packets(self) -> int:
        return sum(count.packets for count in self.counts)

    @property
    def dropped(self) -> int:
        """Packets that passed an interface and are not in the file."""
        return sum(count.dropped for count in self.counts)

    @property
    def complete(self) -> bool:
        """False when any verdict drawn from this file must be INCONCLUSIVE."""
        return self.dropped == 0


class Output(Protocol):
    """What is written to: a binary file, say."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


def created(path: Path) -> BinaryIO:
    """A new file to write to: never one that somebody's link leads to; OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o666), "wb", 1 << 20)


class Writer:
    """Writes one section to a binary file, which stays the caller's to close.

    Raises what the file's ``write`` raises: OSError, above all ENOSPC.
    """

    def __init__(self, file: Output, interfaces: Sequence[str]) -> None:
        self._write = file.write
        section = struct.pack("<IHHQ", _BYTE_ORDER, 1, 0, _LENGTH_UNKNOWN)
        self._block(_SECTION, section + _option(4, b"testbed") + _END_OF_OPTIONS)
        for name in interfaces:
            body = struct.pack("<HHI", LINKTYPE_ETHERNET, 0, SNAP_LENGTH)
            options = _option(2, name.encode()) + _option(9, bytes([NANOSECONDS]))
            self._block(_INTERFACE, body + options + _END_OF_OPTIONS)

    def packet(
        self, interface: int, time_ns: int, frame: bytes, original_length: int, flags: int
    ) -> None:
        """One frame; ``flags`` as in epb_flags: 1 in or 2 out, plus 4 * reception type."""
        kept = len(frame)
        total = 44 + kept + (-kept & 3)
        head = _PACKET_HEAD.pack(
            _PACKET,
            total,
            interface,
            time_ns >> 32,
            time_ns & 0xFFFFFFFF,
            kept,
            original_length,
        )
        tail = _PACKET_TAIL.pack(2, 4, flags, 0, total)
        self._write(head + frame + _PADDING[kept & 3] + tail)

    def statistics(self, interface: int, time_ns: int, packets: int, dropped: int) -> None:
        """How much of an interface's traffic the file holds; once each, at the end."""
        body = struct.pack("<III", interface, time_ns >> 32, time_ns & 0xFFFFFFFF)
        received = _option(4, struct.pack("<Q", packets + dropped))
        lost = _option(5, struct.pack("<Q", dropped))
        self._block(_STATISTICS, body + received + lost + _END_OF_OPTIONS)

    def _block(self, kind: int, body: bytes) -> None:
        length = struct.pack("<I", len(body) + 12)
        self._write(struct.pack("<I", kind) + length + body + length)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + _PADDING[len(value) & 3]


class Reading:
    """A file as `Writer` makes it, read from end to end, a part of it at a time.

    `packets` goes through all of it; then ``counts`` says what was seen at each interface.
    ``names`` has the interfaces, which a file names before their packets.
    """

    counts: tuple[VantageCount, ...]

    def __init__(self, file: BinaryIO) -> None:
        self.names: list[str] = []
        self._file = file
        self._packets: list[int] = []
        self._claims: dict[int, tuple[int, int]] = {}  # interface -> passed, dropped

    def packets(self) -> Iterator[tuple[int, int, int, bytes, int]]:
        """(interface, time in ns, epb_flags, frame, length on the wire) of each, in order.

        Raises ValueError, saying what is wrong, for a file that is damaged, cut
        short anywhere, not finished, or made by something else: at the latest when
        all packets have been given.
        """
        try:
            yield from self._each()
        except (struct.error, IndexError, UnicodeDecodeError):
            raise ValueError("a block does not hold what its type promises") from None
        self.counts = tuple(self._counted())

    def _each(self) -> Iterator[tuple[int, int, int, bytes, int]]:
        packets, unpack = self._packets, _PACKET_BODY.unpack_from
        for kind, data, start, end in _blocks(self._file):
            if kind == _PACKET:
                interface, high, low, kept, length = unpack(data, start)
                stop = start + 20 + kept
                after = stop + (-kept & 3)
                if after > end:
                    raise ValueError("a packet that is longer than its block")
                if not data.startswith(_DIRECTION, after) or after + 8 > end:
                    raise ValueError("a packet without its direction")
                packets[interface] += 1
                (flags,) = _FLAGS.unpack_from(data, after + 4)
                yield interface, high << 32 | low, flags, data[start + 20 : stop], length
            elif kind == _INTERFACE:
                self._interface(data, start, end)
            elif kind == _STATISTICS:
                self._statistics(data, start, end)
            else:
                raise ValueError(f"a block of type {kind}, which a recording does not have")

    def _interface(self, data: bytes, start: int, end: int) -> None:
        link, _reserved, _snap = struct.unpack_from("<HHI", data, start)
        options = _options(data, start + 8, end)
        if link != LINKTYPE_ETHERNET or options.get(9) != bytes([NANOSECONDS]):
            raise ValueError("an interface that is not Ethernet in nanoseconds")
        if 2 not in options:
            raise ValueError("an interface without a name")
        self.names.append(options[2].decode())
        self._packets.append(0)

    def _statistics(self, data: bytes, start: int, end: int) -> None:
        interface, _high, _low = struct.unpack_from("<III", data, start)
        options = _options(data, start + 12, end)
        passed, dropped = (struct.unpack("<Q", options.get(code, b""))[0] for code in (4, 5))
        self._claims[interface] = passed, dropped

    def _counted(self) -> Iterator[VantageCount]:
        if not self.names or set(self._claims) != set(range(len(self.names))):
            raise ValueError("the recording was not finished: statistics are missing at its end")
        for index, name in enumerate(self.names):
            passed, dropped = self._claims[index]
            if self._packets[index] + dropped != passed:
                raise ValueError(f"{name} has {self._packets[index]} packets, not what it counted")
            yield VantageCount(name, self._packets[index], dropped)


def _blocks(file: BinaryIO) -> Iterator[tuple[int, bytes, int, int]]:
    """(type, a part of the file, start and end of the body in it) of each block after the first."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    data = file.read(_AT_ONCE)
    _check_section(data)
    before, offset, unpack = 0, 0, _BLOCK.unpack_from  # ``before``: bytes before ``data``
    while before + offset < size:
        if size - before - offset < 12:
            raise ValueError(f"cut short at byte {before + offset}")
        if len(data) - offset < 12:
            data, before, offset = _further(file, data, offset, 12), before + offset, 0
        kind, length = unpack(data, offset)
        if length < 12 or length % 4:
            raise ValueError(f"a block of impossible length at byte {before + offset}")
        if before + offset + length > size:
            raise ValueError(f"cut short in the block at byte {before + offset}")
        if len(data) - offset < length:
            data, before, offset = _further(file, data, offset, length), before + offset, 0
        end = offset + length
        if data[end - 4 : end] != data[offset + 4 : offset + 8]:
            raise ValueError(f"the two lengths of the block at byte {before + offset} differ")
        if before + offset:
            yield kind, data, offset + 8, end - 4
        offset = end


def _further(file: BinaryIO, data: bytes, offset: int, needed: int) -> bytes:
    """The part of a file from ``offset`` of the part ``data`` on, of ``needed`` bytes or more."""
    left = data[offset:]
    more = left + file.read(max(_AT_ONCE, needed - len(left)))
    if len(more) < needed:
        raise ValueError("cut short while it was read")
    return more


def _check_section(data: bytes) -> None:
    if data[:4] != struct.pack("<I", _SECTION):
        raise ValueError("not a pcapng file")
    if len(data) < 28:
        raise ValueError("cut short in its first block")
    if data[8:14] != struct.pack("<IH", _BYTE_ORDER, 1):
        raise ValueError("not a little-endian pcapng file of version 1")


def _options(data: bytes, start: int, end: int) -> dict[int, bytes]:
    options: dict[int, bytes] = {}
    while start < end:
        code, length = struct.unpack_from("<HH", data, start)
        if code == 0:
            break
        options[code] = data[start + 4 : start + 4 + length]
        start += 4 + length + (-length & 3)
    return options
