"""What the kernel tells of a TCP connection: what is acknowledged, and when something last was.

Linux tells both.  Elsewhere less is known, and the library does without it.
"""

import contextlib
import socket
import struct
import sys
from collections.abc import Callable

# Of Linux's `struct tcp_info`: tcpi_probes, tcpi_unacked, tcpi_last_ack_recv (milliseconds).
_INFO = struct.Struct("=3xB20xI28xI")


def _nobody_tells(sock: socket.socket) -> int:
    del sock
    return 0


def _asked_of_the_kernel() -> Callable[[socket.socket], int]:
    """Windows has neither of the modules."""
    try:
        import fcntl
        import termios
    except ImportError:
        return _nobody_tells

    def unacknowledged(sock: socket.socket) -> int:
        answer = bytearray(4)
        with contextlib.suppress(OSError, ValueError):
            fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, answer)
        return int.from_bytes(answer, sys.byteorder)

    return unacknowledged


# Bytes sent and not acknowledged; 0 of a closed socket, and where the system does not say.
unacknowledged = _asked_of_the_kernel()


def unanswered_for(sock: socket.socket) -> float | None:
    """Seconds since the remote's kernel acknowledged something; None where that is not told.

    With a closed window nothing is under way, and an acknowledged probe is told of by its
    absence: that is 0, however long the next one takes.
    """
    if sys.platform != "linux":
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    except (OSError, ValueError):
        return None
    if len(info) < _INFO.size:
        return None
    probes, unacked, last_acknowledgement = _INFO.unpack(info)
    if not unacked and probes < 2 and unacknowledged(sock):
        return 0.0
    return float(last_acknowledgement) / 1000
