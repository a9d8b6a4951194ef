"""What a peer, or its process, said last of its connection.

Each is a value of its own type, with its `SayingKind` as the field ``kind``.
`testbed.words` has their sentences; the words in them are the peer's own.
"""

from enum import StrEnum
from typing import Literal

from testbed.model.address import Endpoint
from testbed.model.contract import FailureClass, How
from testbed.model.frozen import FrozenValue


class SayingKind(StrEnum):
    """What was said."""

    CONNECTED = "connected"
    FAILED = "failed"
    NOTHING = "nothing"
    ENDED_WELL = "ended_well"
    ENDED_BADLY = "ended_badly"


class SaidConnected(FrozenValue):
    """It is connected; ``how``: after an upgrade."""

    local: Endpoint
    remote: Endpoint
    how: How | None = None
    kind: Literal[SayingKind.CONNECTED] = SayingKind.CONNECTED


class SaidFailed(FrozenValue):
    """It failed; ``reason`` is the peer's."""

    failure: FailureClass
    reason: str
    kind: Literal[SayingKind.FAILED] = SayingKind.FAILED


class SaidNothing(FrozenValue):
    """It said neither."""

    kind: Literal[SayingKind.NOTHING] = SayingKind.NOTHING


class EndedWell(FrozenValue):
    """A process that tells by its exit alone ended with 0, and told how long a handshake took."""

    handshake_ms: float
    kind: Literal[SayingKind.ENDED_WELL] = SayingKind.ENDED_WELL


class Deserter(FrozenValue):
    """A process of another ``part`` that had ended before; ``stderr`` has its last words."""

    part: str
    node: str
    code: int | None
    stderr: str


class EndedBadly(FrozenValue):
    """The same with another exit ``code``; None: not in time.  ``stderr`` has its last words."""

    code: int | None
    stderr: str
    deserters: tuple[Deserter, ...] = ()
    kind: Literal[SayingKind.ENDED_BADLY] = SayingKind.ENDED_BADLY


Saying = SaidConnected | SaidFailed | SaidNothing | EndedWell | EndedBadly
