"""How often a case ends how, as runs of the model say, and what that foresees of repetitions."""

from collections.abc import Mapping, Sequence

from testbed.model.chance import foreseen
from testbed.model.frozen import FrozenValue
from testbed.model.outcome import Outcome

DOUBT = 0.01  # the chance that any rate of a whole run is called wrong although the model is right


class Chances(FrozenValue):
    """Of so many ``runs`` of the model, how many ended how.

    ``borrowed``: of programs whose times are not those of the model's, or that deviate from it.
    Which ends there are is known then, and not how often each comes.
    """

    runs: int
    direct: int = 0
    relayed: int = 0
    none: int = 0
    borrowed: bool = False

    @classmethod
    def of(cls, ends: Sequence[Outcome]) -> "Chances":
        """Of what each run came to."""
        return cls._counted(len(ends), {one: ends.count(one) for one in Outcome})

    @classmethod
    def _counted(
        cls, runs: int, counts: Mapping[Outcome, int], *, borrowed: bool = False
    ) -> "Chances":
        return cls(
            runs,
            counts[Outcome.DIRECT],
            counts[Outcome.RELAYED],
            counts[Outcome.NONE],
            borrowed,
        )

    def count(self, outcome: Outcome) -> int:
        counts: Mapping[Outcome, int] = {
            Outcome.DIRECT: self.direct,
            Outcome.RELAYED: self.relayed,
            Outcome.NONE: self.none,
        }
        return counts[outcome]

    @property
    def likeliest(self) -> Outcome:
        return max(Outcome, key=self.count)

    def rate(self, outcome: Outcome) -> float:
        return self.count(outcome) / self.runs

    def deviating(self, from_: Outcome, to: Outcome) -> "Chances":
        """Where a deviation turns one end into another, which chance may prevent."""
        counts = {outcome: self.count(outcome) for outcome in Outcome}
        moved = max(0, counts[from_] - 1)
        counts[from_] -= moved
        counts[to] += moved
        return self._counted(self.runs, counts, borrowed=True)

    def foresees(self, outcome: Outcome, tries: int, groups: int = 1) -> tuple[int, int]:
        """How many of ``tries`` end so, least and most, where ``groups`` are judged together.

        The bounds of all outcomes of all groups hold together but for `DOUBT` (Bonferroni).
        """
        if self.borrowed:
            return 0, tries if self.count(outcome) else 0
        doubt = DOUBT / (len(Outcome) * groups)
        return foreseen(self.count(outcome), self.runs, tries, doubt)
