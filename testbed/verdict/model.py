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
    """What one peer says of its connection: an outcome, and its words for it.

    An outcome of None: only that there is no direct one.
    """

    node: str
    outcome: Outcome | None
    words: str

    def denied_by(self, outcome: Outcome) -> bool:
        """Whether the wire, which shows ``outcome``, shows another thing than is claimed."""
        if self.outcome is None:
            return outcome is Outcome.DIRECT
        return outcome is not self.outcome


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
