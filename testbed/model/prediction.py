"""What the model of a lab says before anything is run."""

from testbed.model.chances import Chances
from testbed.model.frozen import FrozenValue
from testbed.model.outcome import Outcome, Rung
from testbed.model.reason import Reason
from testbed.model.trace import TraceStep

HASTE_MS = 5.0  # by which one side of a common start may be ahead of the other, by chance


class Prediction(FrozenValue):
    """The outcome, the fact that decides it, and what happened on the way.

    ``trace`` has one step for each different event, with the time of the first; ``rung``
    is told of mechanisms that climb a ladder.  ``race`` is how else it may end, where who
    is `HASTE_MS` ahead decides.  ``within_s`` is by when, where a world's file expects that.
    ``chances`` are there where links lose packets or delay them by chance: ``outcome`` is the
    likeliest then, ``trace`` that of the sure case.  Those of a race are borrowed: which ends
    there are is known, and not how often each comes.
    """

    outcome: Outcome
    reason: Reason
    trace: tuple[TraceStep, ...]
    rung: Rung | None = None
    race: tuple[Outcome, ...] = ()
    within_s: float | None = None
    chances: Chances | None = None

    def beside(self, measured: Outcome | None) -> Outcome:
        """What to hold ``measured`` against: of a race, or by chance, the end that it had."""
        if measured is not None and self.chances is not None and self.chances.count(measured):
            return measured
        return measured if measured is not None and measured in self.race else self.outcome
