"""What a cell's judgement is made of."""

from testbed.model.breach import Breach
from testbed.model.frozen import FrozenValue
from testbed.model.outcome import Outcome
from testbed.model.path import PathSeen, Swallowed
from testbed.model.verdict import Grounds, Judgement


class WireReading(FrozenValue):
    """What the capture shows of the echo between two hosts.

    ``packets`` are the numbers in the capture file of those that decided.
    """

    outcome: Outcome
    path: PathSeen
    packets: tuple[int, ...] = ()

    @property
    def connected(self) -> Outcome:
        """What peers may say of it: where length alone kept the echo, that they are connected."""
        return self.path.by if isinstance(self.path, Swallowed) else self.outcome


class Verdict(FrozenValue):
    """A cell's end: measured against predicted, and what else was found."""

    judgement: Judgement
    measured: Outcome | None  # None where nothing could be measured
    predicted: Outcome
    because: Grounds
    findings: tuple[Breach, ...] = ()
    packets: tuple[int, ...] = ()
