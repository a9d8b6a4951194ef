"""The harness's lookout while peers are at work: is this machine punctual?

It looks at the clock and at the peers' processes at the common start, whenever a peer says
something, and then after pauses that double: little is missed, and little is spent.
"""

import time
from collections.abc import Mapping

from testbed.model.lab import Process
from testbed.model.punctuality import Look, Punctuality

SHORTEST = 0.005  # seconds between two looks
BEFORE = 0.002  # seconds before an instant: a look from which on waiting counts


class Lookout:
    """Looks at ``peers``, node -> process, from `expect` on."""

    def __init__(self, peers: Mapping[str, Process]) -> None:
        self._peers = peers
        self._looks: list[Look] = []
        self._pause = SHORTEST
        self._last: float | None = None
        self.due: float | None = None  # of the next look, in seconds of CLOCK_MONOTONIC

    @property
    def punctuality(self) -> Punctuality:
        return Punctuality(tuple(self._looks))

    def expect(self, instant: float) -> None:
        """Look just before ``instant``, in seconds of CLOCK_MONOTONIC, and from then on."""
        self.due = instant - BEFORE

    def awake(self, stirred: bool) -> None:
        """The harness is awake, by what a peer said (``stirred``) or because a look is due."""
        now = time.monotonic()
        if self.due is None or (now < self.due and not (stirred and self._may_look(now))):
            return
        late = max(0.0, now - self.due)
        waited = {node: process.waited_ns() for node, process in self._peers.items()}
        known = {node: ns for node, ns in waited.items() if ns is not None}
        self._looks.append(Look(time.time_ns(), int(late * 1e9), known))
        self._pause = SHORTEST if stirred else 2 * self._pause
        self._last = now
        self.due = now + self._pause

    def _may_look(self, now: float) -> bool:
        """After its first look, and not for each word of a peer that says many."""
        return self._last is not None and now - self._last >= SHORTEST
