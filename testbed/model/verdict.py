"""Why a verdict is what it is."""

from enum import StrEnum

from testbed.model.fault import Fault
from testbed.model.frozen import FrozenValue
from testbed.model.path import PathSeen
from testbed.model.reason import Reason


class Judgement(StrEnum):
    """Three values: a broken harness is never a pass, and never a peer's failure."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Troubled(FrozenValue):
    """The harness or a peer broke, so nothing was measured."""

    faults: tuple[Fault, ...]


class AsPredicted(FrozenValue):
    """The wire shows what was predicted, for ``reason``."""

    reason: Reason


class Otherwise(FrozenValue):
    """The wire shows ``path``, or something else was found; ``reason`` is the prediction's."""

    reason: Reason
    path: PathSeen


class Recalled(FrozenValue):
    """The sentence of an earlier run, as its file has it."""

    words: str


class NoResult(FrozenValue):
    """An earlier run left none."""


class Uncertified(FrozenValue):
    """These routers are not what their profiles declare, and so prove nothing of a stack."""

    routers: tuple[str, ...]


class Tardy(StrEnum):
    """Who was late."""

    RUN = "run"  # of many of one case
    NODE = "node"
    LIFE = "life"  # the faults of one, or its echo


class TooBusy(FrozenValue):
    """This machine was too busy: it made ``who`` so many ``seconds`` late."""

    who: Tardy
    seconds: float


class KeptByChance(FrozenValue):
    """Keepalives of several connections left no pause over ``seconds``."""

    seconds: float


class RateMeasured(FrozenValue):
    """``hits`` of ``runs``, the bounds of the rate behind them, and what theory says of it."""

    hits: int
    runs: int
    bounds: tuple[float, float]
    theory: float


Grounds = (
    Troubled
    | AsPredicted
    | Otherwise
    | Recalled
    | NoResult
    | Uncertified
    | TooBusy
    | KeptByChance
    | RateMeasured
)
