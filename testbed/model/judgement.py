"""What a cell's judgement is made of."""

from dataclasses import dataclass

from testbed.model.breach import Breach
from testbed.model.outcome import Outcome
from testbed.model.path import PathSeen
from testbed.model.verdict import Grounds, Judgement


@dataclass(frozen=True)
class WireReading:
    """What the capture shows of the echo between two hosts.

    ``packets`` are the numbers in the capture file of those that decided.
    """

    outcome: Outcome
    path: PathSeen
    packets: tuple[int, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """A cell's end: measured against predicted, and what else was found."""

    judgement: Judgement
    measured: Outcome | None  # None where nothing could be measured
    predicted: Outcome
    because: Grounds
    findings: tuple[Breach, ...] = ()
    packets: tuple[int, ...] = ()
