"""A process that does nothing but be punctual: how busy this machine is."""

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from testbed.errors import PeerError
from testbed.model.lab import Lab

_BEAT = 0.1  # seconds between two looks at the clock
_LAST_WORD = 5.0  # seconds for the watch's


@contextmanager
def watched(lab: Lab, node: str) -> Iterator[Callable[[], float]]:
    """A process that does nothing but be punctual; by how many seconds it was late, once."""
    process = lab.spawn(node, _watch)

    def late() -> float:
        process.stdin.write(b"\n")
        if not select.select([process.stdout], [], [], _LAST_WORD)[0]:
            raise PeerError(f"no answer for {_LAST_WORD:g} s", node=node)
        return float(process.stdout.readline())

    try:
        yield late
    finally:
        process.kill()


def _watch() -> int:
    worst = 0.0
    while True:
        due = time.monotonic() + _BEAT
        asked = bool(select.select([0], [], [], _BEAT)[0])
        if asked:
            os.write(1, b"%f\n" % worst)
            return 0
        worst = max(worst, time.monotonic() - due)
