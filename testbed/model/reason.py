"""The facts that decide a prediction."""

from dataclasses import dataclass
from enum import StrEnum

from testbed.model.chances import Chances
from testbed.model.outcome import Outcome, Rung
from testbed.model.trace import Loss, Note, Place


@dataclass(frozen=True, slots=True)
class NobodySends:
    """Neither is to send anything."""

    dialer: str
    listener: str


@dataclass(frozen=True, slots=True)
class Unlearned:
    """``host`` learns no mapped address.  ``loss`` None: there was no answer."""

    host: str
    protocol: str
    loss: Loss | None


@dataclass(frozen=True, slots=True)
class Unrelayed:
    """Hosts that do not reach the relay, and why."""

    losses: tuple[tuple[str, Loss | None], ...]


@dataclass(frozen=True, slots=True)
class Unobserved:
    """A host that does not reach an observer, and why: it ends before it has begun."""

    host: str
    observer: str
    why: Loss | None


@dataclass(frozen=True, slots=True)
class UpgradesOff:
    """Upgrades are switched off."""


@dataclass(frozen=True, slots=True)
class DirectOff:
    """Direct paths are switched off."""


@dataclass(frozen=True, slots=True)
class Passed:
    """``origin`` gets through, for these notes; without any nothing stands between them."""

    origin: str
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class CheckAnswered:
    """ICE's check of ``remote`` is answered; without notes nothing stands between them."""

    remote: Place
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Climbed:
    """The rung of the ladder that holds, or of DCUtR, there with the attempt's number."""

    rung: Rung
    passed: Passed
    attempt: int | None = None


@dataclass(frozen=True, slots=True)
class WayLost:
    """What became of the last packet from ``origin`` to ``target``."""

    origin: str
    target: Place
    loss: Loss


class Silence(StrEnum):
    """Why there is nothing to tell of any packet."""

    NONE_REACHED = "none_reached"
    NO_OPENING = "no_opening"
    NO_CHECK = "no_check"


@dataclass(frozen=True, slots=True)
class Lost:
    """Nothing came through; ``silence`` tells of what, where no way is known."""

    ways: tuple[WayLost | Unlearned, ...]
    silence: Silence
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class NoRelay:
    """``host`` reaches no relay."""

    host: str
    loss: Loss | None


@dataclass(frozen=True, slots=True)
class GaveUp:
    """``host`` gave up pairs of ICE, and checks none of them again."""

    host: str


@dataclass(frozen=True, slots=True)
class NotEvenRelayed:
    """No direct path, for ``reason``, and no relayed one."""

    reason: DirectOff | Lost
    lacks: tuple[NoRelay | GaveUp, ...]


@dataclass(frozen=True, slots=True)
class Raced:
    """It may end otherwise, too, if one side is so many ms ahead."""

    reason: "Reason"
    race: tuple[Outcome, ...]
    ahead_ms: float


@dataclass(frozen=True, slots=True)
class ByChance:
    """What links do by chance decides, as ``chances`` has it; ``sure`` is the end without it."""

    reason: "Reason"
    sure: Outcome
    chances: Chances


@dataclass(frozen=True, slots=True)
class Deviates:
    """``stack`` is known to do otherwise."""

    reason: "Reason"
    stack: str
    name: str
    date: str


@dataclass(frozen=True, slots=True)
class Swallowed:
    """They are connected by the path ``by``, for ``reason``, and what they echo is too long for it.

    It is in packets of ``length`` bytes; from ``origin`` to ``target`` pass ``largest`` at most.
    """

    reason: "Reason"
    by: Outcome
    origin: str
    target: str
    length: int
    largest: int


@dataclass(frozen=True, slots=True)
class Stated:
    """The world's file expects it, whatever the model says."""

    model: Outcome
    reason: "Reason"
    within_s: float | None


Reason = (
    NobodySends
    | Unlearned
    | Unobserved
    | Unrelayed
    | UpgradesOff
    | DirectOff
    | Passed
    | CheckAnswered
    | Climbed
    | Lost
    | NotEvenRelayed
    | Raced
    | ByChance
    | Deviates
    | Swallowed
    | Stated
)
