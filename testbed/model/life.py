"""The life of a direct path: what carries it, what may become of it, and why by the model."""

from dataclasses import dataclass
from enum import StrEnum

from testbed.model.behaviour import Protocol
from testbed.model.frozen import FrozenValue
from testbed.model.trace import Drop, Place


class Transport(StrEnum):
    """What carries the echo."""

    UDP = "udp"  # datagrams after a punch, nothing else
    QUIC = "quic"  # libp2p, with a relay to fall back on
    TCP = "tcp"

    @property
    def protocol(self) -> Protocol:
        """What the NATs see."""
        return Protocol.TCP if self is Transport.TCP else Protocol.UDP


class Fate(StrEnum):
    """What became of the connection."""

    SURVIVES = "survives"  # the same connection carries on
    DIRECT = "direct"  # a new one, direct in the end
    RELAYED = "relayed"  # a new one, over the relay in the end
    LOST = "lost"  # nothing came any more


class Timers(FrozenValue):
    """Seconds.  ``keepalive`` None: none is sent.  ``patience``: of silence, then it is over."""

    keepalive: float | None = 0.5
    patience: float = 2.0


class MomentKind(StrEnum):
    """What happened at one time of a life."""

    FAULT = "fault"  # the network changed, or the application fell silent
    LAST_ECHO = "last_echo"  # before the longest gap
    STOPPED = "stopped"  # how far the first packet got that was not answered
    ARRIVED = "arrived"  # the first packet that came to the listener, who did not answer it
    OPENING = "opening"  # of another connection: a SYN, an Initial
    FIRST_ECHO = "first_echo"  # after the longest gap
    RELAYED_ECHO = "relayed_echo"  # the first one over the relay
    DIRECT_ECHO = "direct_echo"  # the first one that was direct again
    LOST = "lost"  # by the dialer's own word
    UPGRADED = "upgraded"  # likewise
    GIVEN_UP = "given_up"  # likewise: the peer failed


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


@dataclass(frozen=True, slots=True)
class FileExpects:
    """The world's file says so.  The model's word beside it, or None where it has none."""

    model: Fate | None
    reason: "LifeReason | None"


LifeReason = Undisturbed | StillOpen | Ended | FileExpects
