"""Gaps of the evidence: what should have been recorded of a run, and was not.

`testbed.words` has their sentences.
"""

from enum import StrEnum
from typing import Literal

from testbed.model.frozen import FrozenValue


class GapKind(StrEnum):
    """What is not there."""

    EVENTS = "events"
    COUNTERS = "counters"


class Unheard(StrEnum):
    """Why the events of a router's conntrack are not all there."""

    REFUSED = "refused"  # the kernel let nobody listen
    OVERFLOWED = "overflowed"  # they came faster than they were taken
    TOO_MANY = "too_many"  # for the recorder's memory
    SILENT = "silent"  # the kernel told of none, and has flows


class NoEvents(FrozenValue):
    """The events of ``node``'s conntrack; a part of them is worth nothing.

    ``count``: of flows that it holds where it is silent, or of events that are kept at most.
    ``error``: the kernel's, where it refused.
    """

    node: str
    why: Unheard
    count: int = 0
    error: str = ""
    kind: Literal[GapKind.EVENTS] = GapKind.EVENTS


class NoCounters(FrozenValue):
    """The routers' counters of flows and drops; ``error`` as the kernel or the lab has it."""

    error: str
    kind: Literal[GapKind.COUNTERS] = GapKind.COUNTERS


Gap = NoEvents | NoCounters
