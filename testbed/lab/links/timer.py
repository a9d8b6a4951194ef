"""An absolute CLOCK_MONOTONIC timer that epoll can wait for.

epoll's own timeout counts whole milliseconds in Python, and `os.timerfd_create`
came with Python 3.13 only: hence ctypes.
"""

import ctypes
import os
import time

_TFD_TIMER_ABSTIME = 1
_SECOND = 1_000_000_000

_libc = ctypes.CDLL(None, use_errno=True)


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Timer:
    """A timerfd; readable from the set moment on, until it is set again."""

    def __init__(self) -> None:
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._fd: int = _libc.timerfd_create(time.CLOCK_MONOTONIC, flags)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Itimerspec()
        self._pointer = ctypes.byref(self._spec)

    def fileno(self) -> int:
        return self._fd

    def set(self, moment: int) -> None:
        """Fire at ``moment`` (nanoseconds, CLOCK_MONOTONIC), now if past; 0: never."""
        self._spec.value_s, self._spec.value_ns = divmod(moment, _SECOND)
        if _libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, self._pointer, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def close(self) -> None:
        os.close(self._fd)
