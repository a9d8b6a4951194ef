"""Who plays which part in a study, and when the pairs of a mesh meet."""

from enum import StrEnum

from testbed.model.frozen import FrozenValue

OBSERVER = "observer-"  # how the names of observers begin, where no role says who observes


class Order(StrEnum):
    """When the pairs of a mesh meet."""

    AT_ONCE = "at_once"  # all of them begin at one moment
    IN_TURN = "in_turn"  # each when the one before has ended; what NATs remember of it stays


class Roles(FrozenValue):
    """Which host plays which part in a study."""

    a: str = "a"  # the dialer
    b: str = "b"  # the listener
    relay: str = "server"  # STUN and TURN server, libp2p relay
    observers: tuple[str, ...] | None = None  # None: all whose names begin with `OBSERVER`
    dns: str | None = None  # who answers names (RFC 1035); None: hosts have them in a file
    peers: tuple[str, ...] = ()  # of a mesh: each meets each, and who is named earlier dials
