"""What the capture shows of the way between two hosts."""

from dataclasses import dataclass
from enum import StrEnum


class Traffic(StrEnum):
    """Whose bytes were followed."""

    ECHO = "echo"  # that the peers were asked for
    CONNECTION = "connection"  # of peers that did what they liked


@dataclass(frozen=True)
class NothingEchoed:
    """No peer claimed a connection, so there was nothing to follow."""


@dataclass(frozen=True)
class BytesMissing:
    """They did not arrive on the way from ``source`` to ``target``."""

    traffic: Traffic
    source: str
    target: str
    back: bool  # it is the listener's way to the dialer


@dataclass(frozen=True)
class Unfollowed:
    """They left ``source`` and arrived at ``target``, and most are not seen to go there."""

    traffic: Traffic
    source: str
    target: str


@dataclass(frozen=True)
class PassedThrough:
    """Third hosts saw them."""

    traffic: Traffic
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class WentDirect:
    """They left one host, arrived at the other, and back; no third host saw them."""

    traffic: Traffic
    dialer: str
    listener: str


PathSeen = NothingEchoed | BytesMissing | Unfollowed | PassedThrough | WentDirect
