"""What work costs in lines of Python: a figure that no other program on the machine changes.

How long it takes is `make bench`'s to say.  These show how it grows.
"""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def lines(work: Callable[[], object]) -> int:
    """How many lines of Python run while `work` does; those of comprehensions' turns too."""
    count = 0

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        del frame, arg
        nonlocal count
        count += event in ("line", "call")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def require_linear(cost: Callable[[int], int], number: int) -> None:
    """That `cost` of four times as many is at most five times the cost; AssertionError if more."""
    few, many = cost(number), cost(4 * number)
    assert many <= 5 * few, f"{number}: {few} lines; {4 * number}: {many} lines"
