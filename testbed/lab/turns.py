"""Turns at computing, of which a machine has as many at a time as processors.

Labs come up, and runs are judged, as fast as a processor can.  Where many do so at once, those
who wait for a moment beside them, as peers and links do, come too late to it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

_shared: list[int] = []


@contextmanager
def shared() -> Iterator[None]:
    """Let this process and those that it forks take turns within the context.

    The locks are on files without names, so that nobody else's are met, and nothing is left of
    a process that is killed.  No effect where they take turns already.
    """
    if _shared:
        yield
        return
    _shared[:] = [os.memfd_create("turn") for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for turn_file in _shared:
            os.close(turn_file)
        _shared.clear()


@contextmanager
def turn() -> Iterator[None]:
    """Wait for a turn, and hold it within the context, or until this process dies.

    No effect where nothing is shared.
    """
    if not _shared:
        yield
        return
    held = _taken()
    try:
        yield
    finally:
        fcntl.flock(held, fcntl.LOCK_UN)  # a fork may still have a copy
        os.close(held)


def _taken() -> int:
    """The first that is free; else the one that falls to this process, once it is free."""
    first = os.getpid() % len(_shared)
    for turn_file in (*_shared[first:], *_shared[:first]):
        held = _opened(turn_file)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(held)
        else:
            return held
    held = _opened(_shared[first])
    fcntl.flock(held, fcntl.LOCK_EX)
    return held


def _opened(turn_file: int) -> int:
    """Opened anew: a lock that forks inherit together excludes none of them (flock(2))."""
    return os.open(f"/proc/self/fd/{turn_file}", os.O_RDONLY | os.O_CLOEXEC)
