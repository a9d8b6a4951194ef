"""Why the life of a path goes as the model has it."""

from dataclasses import dataclass
from enum import StrEnum

from testbed.model.reason import Drop, Place


@dataclass(frozen=True, slots=True)
class NoConnection:
    """b knows no connection with where a's packet came from."""

    source: Place


@dataclass(frozen=True, slots=True)
class NotKnown:
    """a hears what it does not know."""

    source: Place


@dataclass(frozen=True, slots=True)
class SocketStuck:
    """a's socket has an address that a has no longer."""


@dataclass(frozen=True, slots=True)
class NobodyAt:
    """Nobody is at that address any more."""

    target: Place


@dataclass(frozen=True, slots=True)
class Shut:
    """Nothing passes this router."""

    router: str


PathEnd = NoConnection | NotKnown | SocketStuck | NobodyAt | Shut | Drop


class After(StrEnum):
    """What comes once the path has ended."""

    NOTHING = "nothing"
    UNNOTICED = "unnoticed"  # no keepalive notices
    UPGRADED = "upgraded"  # a new upgrade gets through
    RELAYED = "relayed"  # no upgrade gets through


@dataclass(frozen=True, slots=True)
class Undisturbed:
    """Nothing stands in the way."""


@dataclass(frozen=True, slots=True)
class StillOpen:
    """Both NATs still let both ways through."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The path ended, and what became of its last packet; None: that is not known."""

    end: PathEnd | None
    after: After = After.NOTHING


LifeReason = Undisturbed | StillOpen | Ended
