"""Benches as experiments need them: one for all, or fresh ones where a NAT allows few mappings.

A fresh bench has the same router in another lab: nothing of the earlier one is left in its NAT.
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack

from testbed.certify.prober.bench import Bench
from testbed.model.lab import Lab

Labs = Callable[[], AbstractContextManager[Lab]]


class Rounds:
    """Opens benches; a context manager.  ``labs`` starts the same lab again at each call."""

    def __init__(self, labs: Labs, keep_free: Collection[int] = ()) -> None:
        """``keep_free``: ports that no experiment takes as one of its own."""
        self._labs = labs
        self._keep_free = keep_free
        self._stack = ExitStack()
        self._last: Bench | None = None

    def __enter__(self) -> "Rounds":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def bench(self) -> tuple[Bench, ExitStack]:
        """A bench in a lab of its own, and what closes both; at the latest the rounds' end does.

        ProbeError where control datagrams do not pass.
        """
        own = ExitStack()
        self._stack.callback(own.close)
        bench = own.enter_context(Bench(own.enter_context(self._labs()), self._last))
        bench.keep_free(self._keep_free)
        bench.ready()
        self._last = bench
        return bench, own
