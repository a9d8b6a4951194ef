"""An AF_PACKET socket whose packets the kernel lays into memory shared with us.

TPACKET_V3 (Documentation/networking/packet_mmap.rst): the kernel fills blocks
with packets and hands over whole blocks, so the reader pays per block and not
per packet.  The ring is memory of the kernel's, not a socket buffer, so its
size is not bound by net.core.rmem_max, which ordinary users cannot raise.
"""

import contextlib
import ctypes
import mmap
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from testbed.capture.pcapng import SNAP_LENGTH

_SOL_PACKET, _RX_RING, _STATISTICS, _VERSION = 263, 5, 6, 10
_SO_ATTACH_FILTER = 26
_TPACKET_V3 = 2
_USER = 1  # TP_STATUS_USER: the block is ours
_ETH_P_ALL = 0x0003
_ETH_P_SILENT = 0x88B6  # IEEE 802 local experimental: nobody in a lab speaks it
_RETIRE_MS = 1000  # a block that is not full is handed over after this
_PAGE = mmap.PAGESIZE
_BLOCK_BYTES = 65536
_BLOCK_HEAD = struct.Struct("4I")  # status, packets, offset of the first, length
_PACKET_HEAD = struct.Struct("6IHH30xB")  # tpacket3_hdr, then sockaddr_ll to sll_pkttype

_libc = ctypes.CDLL(None, use_errno=True)


class Frame(NamedTuple):
    """One packet as the kernel saw it pass."""

    time_ns: int  # CLOCK_REALTIME, stamped by the kernel
    data: bytes  # at most SNAP_LENGTH
    length: int  # on the wire
    kind: int  # sll_pkttype: 0 host, 1 broadcast, 2 multicast, 3 other host, 4 outgoing


Sink = Callable[[memoryview, int], None]  # a block's packets, and how many they are


class Ring:
    """The receive ring of one interface.  ``taken`` counts the packets handed on."""

    def __init__(self, sock: socket.socket, ifname: str, ring_bytes: int) -> None:
        """``ring_bytes`` is rounded to whole blocks, at least two pages."""
        self.fd = sock.fileno()
        self.taken = 0
        self._socket = sock
        self._ifname = ifname
        pages = max(ring_bytes // _PAGE, 2)
        self._block = min(_BLOCK_BYTES, max(pages // 4, 1) * _PAGE)
        self._blocks = pages * _PAGE // self._block
        self._next = 0

    def open(self) -> None:
        """Lay out the ring and bind; every packet from now on is kept or counted as lost.

        Raises OSError: ENODEV without such an interface, ENOMEM, EPERM.
        """
        self._socket.setsockopt(_SOL_PACKET, _VERSION, _TPACKET_V3)
        self._keep(SNAP_LENGTH)
        size = self._block * self._blocks
        frames = size // SNAP_LENGTH  # only has to agree with the sizes in version 3
        request = (self._block, self._blocks, SNAP_LENGTH, frames, _RETIRE_MS, 0, 0)
        _set_option(self.fd, _SOL_PACKET, _RX_RING, struct.pack("7I", *request))
        self._map = mmap.mmap(self.fd, size)
        self._view = memoryview(self._map)
        self._socket.bind((self._ifname, _ETH_P_ALL))

    def _keep(self, length: int) -> None:
        """A filter of one instruction: keep ``length`` bytes of each packet, 0 for none."""
        program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, length))
        header = struct.pack("HP", 1, ctypes.addressof(program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)

    def drain(self, sink: Sink) -> None:
        """Give ``sink`` the blocks that the kernel has handed over, one lap at the most."""
        for _ in range(self._blocks):
            base = self._next * self._block
            if not _BLOCK_HEAD.unpack_from(self._map, base + 8)[0] & _USER:
                return
            self._give(base, sink)
            # Zero packets first: a block that is not opened again must read as empty.
            struct.pack_into("I", self._map, base + 12, 0)
            struct.pack_into("I", self._map, base + 8, 0)
            self._next = (self._next + 1) % self._blocks

    def drain_open(self, sink: Sink) -> None:
        """The block that the kernel was still filling; only after `quiesce` and `drain`."""
        self._give(self._next * self._block, sink)

    def _give(self, base: int, sink: Sink) -> None:
        _status, packets, first, length = _BLOCK_HEAD.unpack_from(self._map, base + 8)
        if packets:
            sink(self._view[base + first : base + length], packets)
            self.taken += packets

    def lost(self) -> int:
        """Packets that the kernel saw and we did not take; asked once, at the end."""
        answer = self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 12)
        seen, dropped, _freezes = struct.unpack("3I", answer)  # ``seen`` includes the dropped
        return max(int(seen) - self.taken, int(dropped))

    def clear_error(self) -> None:
        """Forget ENETDOWN: the interface may come up again, and the ring lives on."""
        self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

    def deafen(self) -> None:
        """Take nothing more; packets just being copied still arrive (see `quiesce`)."""
        self._keep(0)

    def detach(self) -> None:
        """Leave the interface, which waits until no CPU is delivering to any ring."""
        self._socket.bind((self._ifname, _ETH_P_SILENT))

    def close(self) -> None:
        self._view.release()
        self._map.close()
        self._socket.close()


def frames(block: bytes, packets: int) -> Iterator[Frame]:
    """The packets of a block as `Ring.drain` gives it, in the kernel's order."""
    offset = 0
    for _ in range(packets):
        step, seconds, nanoseconds, kept, length, _status, mac, _net, kind = (
            _PACKET_HEAD.unpack_from(block, offset)
        )
        start = offset + mac
        yield Frame(seconds * 10**9 + nanoseconds, block[start : start + kept], length, kind)
        offset += step


def open_all(rings: Sequence[Ring]) -> None:
    """Open all rings; the first OSError is raised.

    Each waits for an RCU grace period (some 12 ms) in the kernel: side by side
    they share it.
    """
    _in_parallel([ring.open for ring in rings])


def close_all(rings: Sequence[Ring]) -> None:
    """Close all rings, sharing the kernel's grace periods as in `open_all`."""
    _in_parallel([ring.close for ring in rings])


def quiesce(rings: Sequence[Ring]) -> None:
    """Stop all rings; when this returns, every packet taken is wholly in memory."""
    for ring in rings:
        ring.deafen()
    for ring in rings:
        # One grace period serves all rings; without a single interface left to
        # detach from there is nobody who could be delivering.
        with contextlib.suppress(OSError):
            ring.detach()
            return


def _in_parallel(actions: Sequence[Callable[[], None]]) -> None:
    failures: list[OSError] = []

    def attempt(action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=attempt, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _set_option(fd: int, level: int, option: int, value: bytes) -> None:
    # socket.setsockopt holds the GIL while the kernel waits; ctypes lets it go.
    if _libc.setsockopt(fd, level, option, value, len(value)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
