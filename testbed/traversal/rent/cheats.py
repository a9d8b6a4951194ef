"""The ways to cheat, and what a finding of one rests on."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ..errors import TraversalError
from ..peer_id import PeerId
from .signed import Signed


class Cheat(StrEnum):
    """What a relay or a payer may do; `audit.py` has the proof of each."""

    DROPS = "drops"
    DELAYS = "delays"
    THROTTLES = "throttles"
    INFLATES = "inflates its count"
    FORWARDS_TWICE = "forwards twice"
    FORWARDS_ELSEWHERE = "forwards elsewhere"
    REPLAYS = "replays another circuit's receipt"
    SILENT = "does not account"  # never proven: one cannot show what was not said
    DOES_NOT_PAY = "does not pay"
    PAYS_TWICE = "pays twice with the same"
    FORGES = "forges"
    BEYOND_CREDIT = "goes beyond its credit"
    CONTRADICTS = "contradicts itself"


class Grade(StrEnum):
    """Whose word a finding rests on."""

    OWN_WORD = "its own signatures"
    WITNESSED = "the word of the others"
    UNANSWERED = "the word of the others, until it shows a receipt"


@dataclass(frozen=True)
class Finding:
    """A cheat, who did it, and the signed statements that show it."""

    cheat: Cheat
    accused: PeerId
    grade: Grade
    contract: bytes
    exhibits: tuple[Signed[Any], ...]


class CheatError(TraversalError):
    """The other side of a contract cheats; what it said is not accepted."""

    def __init__(self, cheat: Cheat, reason: str) -> None:
        super().__init__(f"{cheat}: {reason}")
        self.cheat, self.reason = cheat, reason
