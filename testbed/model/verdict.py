"""Why a verdict is what it is."""

from dataclasses import dataclass
from enum import StrEnum

from testbed.model.fault import Fault
from testbed.model.path import PathSeen
from testbed.model.reason import Reason


class Judgement(StrEnum):
    """Three values: a broken harness is never a pass, and never a peer's failure."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Troubled:
    """The harness or a peer broke, so nothing was measured."""

    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class AsPredicted:
    """The wire shows what was predicted, for ``reason``."""

    reason: Reason


@dataclass(frozen=True)
class Otherwise:
    """The wire shows ``path``, or something else was found; ``reason`` is the prediction's."""

    reason: Reason
    path: PathSeen


@dataclass(frozen=True)
class Recalled:
    """The sentence of an earlier run, as its file has it."""

    words: str


Grounds = Troubled | AsPredicted | Otherwise | Recalled
