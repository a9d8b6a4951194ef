"""What a cell's judgement is made of."""

from dataclasses import dataclass
from enum import StrEnum

from testbed.oracle.predict import Outcome


class Judgement(StrEnum):
    """Three values: a broken harness is never a pass, and never a peer's failure."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Claim:
    """What one peer says of its connection: an outcome, and its words for it."""

    node: str
    outcome: Outcome
    words: str


@dataclass(frozen=True)
class WireReading:
    """What the capture shows of the echo between two hosts.

    ``packets`` are the numbers in the capture file of those that decided.
    """

    outcome: Outcome
    evidence: str
    packets: tuple[int, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A cell's end: measured against predicted, and what else was found."""

    judgement: Judgement
    measured: Outcome | None  # None where nothing could be measured
    predicted: Outcome
    reason: str  # why the prediction, why the measurement, or what broke
    findings: tuple[str, ...] = ()
    packets: tuple[int, ...] = ()
