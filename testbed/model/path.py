"""What the capture shows of the way between two hosts."""

from enum import StrEnum

from testbed.model.frozen import FrozenValue
from testbed.model.outcome import Outcome


class Traffic(StrEnum):
    """Whose bytes were followed."""

    ECHO = "echo"  # that the peers were asked for
    CONNECTION = "connection"  # of peers that did what they liked


class NothingEchoed(FrozenValue):
    """No peer claimed a connection, so there was nothing to follow."""


class BytesMissing(FrozenValue):
    """They did not arrive on the way from ``source`` to ``target``."""

    traffic: Traffic
    source: str
    target: str
    back: bool  # it is the listener's way to the dialer


class Unfollowed(FrozenValue):
    """They left ``source`` and arrived at ``target``, and most are not seen to go there."""

    traffic: Traffic
    source: str
    target: str


class Swallowed(FrozenValue):
    """They left ``source`` by the path ``by``, in packets too long for a link on that way.

    It loses what is longer than ``largest`` bytes, and nobody is told: who says to be connected by
    that path says what is so.
    """

    traffic: Traffic
    source: str
    target: str
    by: Outcome
    largest: int


class PassedThrough(FrozenValue):
    """Third hosts saw them."""

    traffic: Traffic
    nodes: tuple[str, ...]


class WentDirect(FrozenValue):
    """They left one host, arrived at the other, and back; no third host saw them."""

    traffic: Traffic
    dialer: str
    listener: str


PathSeen = NothingEchoed | BytesMissing | Unfollowed | Swallowed | PassedThrough | WentDirect
