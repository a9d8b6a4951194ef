"""What a NAT does with one packet: translates it out or in, or drops it."""

from dataclasses import dataclass
from enum import StrEnum

from testbed.oracle.packet import Endpoint


class Answer(StrEnum):
    """What the sender of a dropped packet gets to see."""

    SILENCE = "silence"
    RESET = "reset"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Dropped:
    """The packet goes no further.  ``taken``: the router's own INPUT accepted it."""

    why: str
    answer: Answer = Answer.SILENCE
    taken: bool = False


@dataclass(frozen=True, slots=True)
class Leaves:
    """An outgoing packet, translated; ``note`` when its port is not the first one seen."""

    external: Endpoint
    remote: Endpoint
    note: str | None


@dataclass(frozen=True, slots=True)
class Enters:
    """An incoming packet, translated; ``remote`` is the source that the inside sees."""

    internal: Endpoint
    remote: Endpoint
    note: str
