"""How often a case ends how, as runs of the model say, and what that foresees of repetitions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testbed.model.chance import foreseen
from testbed.model.outcome import Outcome

DOUBT = 0.01  # the chance that any rate of a whole run is called wrong although the model is right


@dataclass(frozen=True)
class Chances:
    """Of so many ``runs`` of the model, how many ended how."""

    runs: int
    direct: int = 0
    relayed: int = 0
    none: int = 0

    @classmethod
    def of(cls, ends: Sequence[Outcome]) -> "Chances":
        """Of what each run came to."""
        return cls(len(ends), *(ends.count(outcome) for outcome in Outcome))

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

    def foresees(self, outcome: Outcome, tries: int, groups: int = 1) -> tuple[int, int]:
        """How many of ``tries`` end so, least and most, where ``groups`` are judged together.

        The bounds of all outcomes of all groups hold together but for `DOUBT` (Bonferroni).
        """
        doubt = DOUBT / (len(Outcome) * groups)
        return foreseen(self.count(outcome), self.runs, tries, doubt)
