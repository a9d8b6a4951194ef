"""A TPACKET_V2 receive ring: frames with their arrival times, no system call each.

Layout: Documentation/networking/packet_mmap.rst of the kernel.  Slots are read in
order right after a status word turns; that needs a processor which does not reorder
loads (x86), or one for which epoll's wake-up is barrier enough in practice.
"""

import mmap
import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple

_SOL_PACKET = 263
_PACKET_RX_RING = 5
_PACKET_STATISTICS = 6
_PACKET_VERSION = 10
_TPACKET_V2 = 1

_STATUS_CHECKSUM_NOT_READY = 1 << 3

_BLOCK = 1 << 16
SLOT = 2048  # bytes; holds a frame of about 1980 bytes and the kernel's header
_WORDS = SLOT // 4
# status, length, length in the slot, offset of the frame, seconds, nanoseconds, interface
_HEADER = struct.Struct("=IIIH2xII8x4xi")  # struct tpacket2_hdr and the start of sockaddr_ll
_STATISTICS = struct.Struct("=II")


class Frame(NamedTuple):
    """A received Ethernet frame."""

    arrival: int  # ns of CLOCK_MONOTONIC
    ifindex: int
    whole: bool  # False: cut, or sent without its checksum
    data: bytes


class Ring:
    """The receive side of one packet socket; ``slots`` is rounded up to whole blocks.

    Making one, and closing its socket, each waits for an RCU grace period of the
    kernel, 10 ms and more: hence one for all interfaces.
    """

    def __init__(self, sock: socket.socket, slots: int) -> None:
        blocks = -(-slots * SLOT // _BLOCK)
        self._sock = sock
        self._slots = blocks * _BLOCK // SLOT
        self._next = 0
        self._missed = 0
        sock.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
        request = struct.pack("=IIII", _BLOCK, blocks, SLOT, self._slots)
        sock.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
        self._map = mmap.mmap(sock.fileno(), blocks * _BLOCK)
        self._words = memoryview(self._map).cast("I")

    def take(self, limit: int) -> Iterator[Frame]:
        """Up to ``limit`` frames that wait.

        The kernel stamps with the settable clock; a step of it between arrival and
        here shifts these few frames and no later ones.
        """
        offset = time.time_ns() - time.monotonic_ns()
        words, ring = self._words, self._map
        for _ in range(limit):
            if not words[self._next * _WORDS]:
                return
            start = self._next * SLOT
            status, length, kept, mac, seconds, nanoseconds, ifindex = _HEADER.unpack_from(
                ring, start
            )
            data = ring[start + mac : start + mac + kept]
            words[self._next * _WORDS] = 0  # the slot is the kernel's again
            self._next = (self._next + 1) % self._slots
            whole = kept == length and not status & _STATUS_CHECKSUM_NOT_READY
            yield Frame(seconds * 1_000_000_000 + nanoseconds - offset, ifindex, whole, data)

    def missed(self) -> int:
        """Frames that found the ring full, since the start."""
        answer = self._sock.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size)
        self._missed += _STATISTICS.unpack(answer)[1]  # reading sets the kernel's count to 0
        return self._missed
