"""Work on many small values at once."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_off() -> Iterator[None]:
    """Without the collector of cycles, which would visit all of a million values again and again.

    What is made of packets has no cycles; what else is made meanwhile is visited afterwards.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
