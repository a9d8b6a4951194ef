"""The pcapng file of a capture: one interface per vantage point (draft-ietf-opsawg-pcapng).

Only what a capture needs: one section, Ethernet, nanoseconds, the direction of
each packet, and at the end one statistics block per interface.  A file without
its statistics blocks was not finished, and `survey` says so.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SNAP_LENGTH = 2048  # bytes kept of a frame; the file says how long a longer one was
LINKTYPE_ETHERNET = 1
NANOSECONDS = 9  # if_tsresol: 10 ** -9

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER = 0x1A2B3C4D
_LENGTH_UNKNOWN = 0xFFFFFFFFFFFFFFFF
_END_OF_OPTIONS = b"\0\0\0\0"
_BLOCK = struct.Struct("<II")
_PACKET_HEAD = struct.Struct("<7I")
_PACKET_TAIL = struct.Struct("<HHIII")  # epb_flags, end of options, block length
_DIRECTION = struct.pack("<HH", 2, 4)  # how the option epb_flags begins
_PADDING = (b"", b"\0\0\0", b"\0\0", b"\0")  # to four bytes, by length % 4


@dataclass(frozen=True)
class VantageCount:
    """What was seen at one interface: ``packets`` in the file, ``dropped`` before it."""

    name: str
    packets: int
    dropped: int


@dataclass(frozen=True)
class Recording:
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


def survey(data: bytes) -> tuple[VantageCount, ...]:
    """Check a file as `Writer` makes it, from end to end, and count its packets.

    Raises ValueError, saying what is wrong, for a file that is damaged, cut
    short anywhere, not finished, or made by something else.
    """
    survey = _Survey(data)
    kinds = {_INTERFACE: survey.interface, _PACKET: survey.packet, _STATISTICS: survey.statistics}
    try:
        for position, (kind, start, end) in enumerate(_blocks(data)):
            if position > 0:
                kinds[kind](start, end)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ValueError("a block does not hold what its type promises") from None
    except KeyError as error:
        raise ValueError(f"a block of type {error}, which a recording does not have") from None
    return survey.counts()


class _Survey:
    """Collects what the blocks of a file say; methods take a block's bounds."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._names: list[str] = []
        self._packets: list[int] = []
        self._claims: dict[int, tuple[int, int]] = {}  # interface -> passed, dropped

    def interface(self, start: int, end: int) -> None:
        link, _reserved, _snap = struct.unpack_from("<HHI", self._data, start)
        options = _options(self._data, start + 8, end)
        if link != LINKTYPE_ETHERNET or options.get(9) != bytes([NANOSECONDS]):
            raise ValueError("an interface that is not Ethernet in nanoseconds")
        if 2 not in options:
            raise ValueError("an interface without a name")
        self._names.append(options[2].decode())
        self._packets.append(0)

    def packet(self, start: int, end: int) -> None:
        interface, _high, _low, kept = struct.unpack_from("<IIII", self._data, start)
        after = start + 20 + kept + (-kept & 3)
        if after > end:
            raise ValueError("a packet that is longer than its block")
        if not self._data.startswith(_DIRECTION, after):
            raise ValueError("a packet without its direction")
        self._packets[interface] += 1

    def statistics(self, start: int, end: int) -> None:
        interface, _high, _low = struct.unpack_from("<III", self._data, start)
        options = _options(self._data, start + 12, end)
        passed, dropped = (struct.unpack("<Q", options.get(code, b""))[0] for code in (4, 5))
        self._claims[interface] = passed, dropped

    def counts(self) -> tuple[VantageCount, ...]:
        if not self._names or set(self._claims) != set(range(len(self._names))):
            raise ValueError("the recording was not finished: statistics are missing at its end")
        counts = []
        for index, name in enumerate(self._names):
            passed, dropped = self._claims[index]
            if self._packets[index] + dropped != passed:
                raise ValueError(f"{name} has {self._packets[index]} packets, not what it counted")
            counts.append(VantageCount(name, self._packets[index], dropped))
        return tuple(counts)


def _blocks(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(type, start of the body, end of the body) of every block."""
    if data[:4] != struct.pack("<I", _SECTION):
        raise ValueError("not a pcapng file")
    if len(data) < 28:
        raise ValueError("cut short in its first block")
    if data[8:14] != struct.pack("<IH", _BYTE_ORDER, 1):
        raise ValueError("not a little-endian pcapng file of version 1")
    offset, size = 0, len(data)
    while offset < size:
        if offset + 12 > size:
            raise ValueError(f"cut short at byte {offset}")
        kind, length = _BLOCK.unpack_from(data, offset)
        end = offset + length
        if length < 12 or length % 4:
            raise ValueError(f"a block of impossible length at byte {offset}")
        if end > size:
            raise ValueError(f"cut short in the block at byte {offset}")
        if data[end - 4 : end] != data[offset + 4 : offset + 8]:
            raise ValueError(f"the two lengths of the block at byte {offset} differ")
        yield kind, offset + 8, end - 4
        offset = end


def _options(data: bytes, start: int, end: int) -> dict[int, bytes]:
    options: dict[int, bytes] = {}
    while start < end:
        code, length = struct.unpack_from("<HH", data, start)
        if code == 0:
            break
        options[code] = data[start + 4 : start + 4 + length]
        start += 4 + length + (-length & 3)
    return options
