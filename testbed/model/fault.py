"""Faults and doubts: how the harness, a link or a peer kept a run from being a measurement.

Each is a value of its own type, with its `FaultKind` as the field ``kind``.
`testbed.words` has their sentences; nothing but people reads those.
"""

from enum import StrEnum
from typing import Literal

from testbed.model.address import Route, Rule
from testbed.model.frozen import FrozenValue


class FaultKind(StrEnum):
    """What went wrong."""

    LAB_DIFFERS = "lab_differs"
    FRAMES_LOST = "frames_lost"
    CAPTURE_LOST = "capture_lost"
    UNDELAYED = "undelayed"
    LATE = "late"
    PEER_FAILED = "peer_failed"
    BROKE = "broke"
    WAY_UNSEEN = "way_unseen"
    CONTRADICTED = "contradicted"
    SERVICE_FAILED = "service_failed"
    CRASHED = "crashed"
    ENDED = "ended"


class Difference(StrEnum):
    """How a lab differs from its plan."""

    UNPLANNED_INTERFACE = "unplanned_interface"
    MISSING_INTERFACE = "missing_interface"
    UNPLANNED_ROUTE = "unplanned_route"
    MISSING_ROUTE = "missing_route"
    UNPLANNED_RULE = "unplanned_rule"  # of the routing policy
    MISSING_RULE = "missing_rule"
    RULES_CHANGED = "rules_changed"  # in a table of the name ``what``, if only for a while
    NETWORK_CHANGED = "network_changed"  # a link, an address, a route, if only for a while
    SYSCTL_CHANGED = "sysctl_changed"
    STRANGE_PROCESS = "strange_process"  # which the lab did not start


class Clash(StrEnum):
    """How an explanation denies the verdict beside it."""

    HARNESS_BLAMED = "harness_blamed"  # by the explanation; the verdict believes the harness
    UNTROUBLED = "untroubled"  # it finds nothing that kept the run from being a measurement
    WAY_UNKNOWN = "way_unknown"  # of a connection that the verdict says was direct
    UNEXPLAINED = "unexplained"  # of a relayed path, or none, that was predicted
    NAT_DENIED = "nat_denied"  # a router did what its certified behaviour denies
    NOT_TRIED = "not_tried"  # there is no connection because a peer or a service gave up
    WAY_FOUND = "way_found"  # from peer to peer, where the verdict says that there was none


class Ending(StrEnum):
    """How a service failed."""

    UNREADY = "was not ready in time"
    DIED = "died"
    STOPPED = "was stopped"  # by a signal, if only for a while
    SILENT = "fell silent"  # it runs, and answers no more


class Tardy(StrEnum):
    """What was late."""

    FRAME = "frame"  # a link held one too long
    START = "start"  # of a peer, by its first packet
    PUNCH = "punch"  # of a peer, after it had decided on it


class Worker(StrEnum):
    """A process of the harness that gives a result."""

    PROBER = "prober"  # that of a certificate
    CASE = "case"  # that runs a case


class LabDiffers(FrozenValue):
    """After the run ``node`` is not what its plan says: an interface, a route or a rule."""

    difference: Difference
    node: str
    what: str | Route | Rule
    kind: Literal[FaultKind.LAB_DIFFERS] = FaultKind.LAB_DIFFERS


class FramesLost(FrozenValue):
    """The emulation of a link lost frames by itself."""

    link: str
    direction: str
    frames: int
    kind: Literal[FaultKind.FRAMES_LOST] = FaultKind.FRAMES_LOST


class CaptureLost(FrozenValue):
    """The recorder lost packets at ``interface``, "node:name"."""

    interface: str
    packets: int
    kind: Literal[FaultKind.CAPTURE_LOST] = FaultKind.CAPTURE_LOST


class Undelayed(FrozenValue):
    """A round trip from ``node`` to ``server`` was shorter than the links' planned delays."""

    node: str
    server: str
    measured_ms: float
    planned_ms: float
    kind: Literal[FaultKind.UNDELAYED] = FaultKind.UNDELAYED


class Late(FrozenValue):
    """This machine made ``what`` of ``node`` so many ms late; a link's frame has no node."""

    what: Tardy
    node: str | None
    ms: float
    kind: Literal[FaultKind.LATE] = FaultKind.LATE


class PeerFailed(FrozenValue):
    """A peer's process broke its contract, died, or missed a deadline.

    ``broke_contract``: by what it said, which nothing but the peer itself can be the reason of.
    """

    node: str | None
    message: str
    remedy: str | None = None
    broke_contract: bool = False
    kind: Literal[FaultKind.PEER_FAILED] = FaultKind.PEER_FAILED


class Broke(FrozenValue):
    """The harness could not go on.  ``phase`` as `testbed.errors` names it; None: the system."""

    phase: str | None
    node: str | None
    message: str
    remedy: str | None = None
    kind: Literal[FaultKind.BROKE] = FaultKind.BROKE


class WayUnseen(FrozenValue):
    """Bytes of ``source`` arrived at ``target``, and no packet is followed all the way."""

    source: str
    target: str
    kind: Literal[FaultKind.WAY_UNSEEN] = FaultKind.WAY_UNSEEN


class Contradicted(FrozenValue):
    """The verdict and the explanation, which is about ``node``, did not agree."""

    clash: Clash
    node: str | None
    kind: Literal[FaultKind.CONTRADICTED] = FaultKind.CONTRADICTED


class ServiceFailed(FrozenValue):
    """A program that the lab provides in ``node`` did not serve until its end.

    ``why`` is what it said, or did not answer, where it never served.
    """

    node: str
    service: str
    ending: Ending
    why: str = ""
    kind: Literal[FaultKind.SERVICE_FAILED] = FaultKind.SERVICE_FAILED


class Crashed(FrozenValue):
    """A process of the harness met an ``error``, as Python has it, that no user should meet.

    ``kept``: the file of the case's folder that has its traceback; empty where there is none.
    """

    worker: Worker
    error: str
    kept: str = ""
    kind: Literal[FaultKind.CRASHED] = FaultKind.CRASHED


class Ended(FrozenValue):
    """A process of the harness ended after ``seconds`` without a result."""

    worker: Worker
    seconds: float
    kind: Literal[FaultKind.ENDED] = FaultKind.ENDED


Fault = (
    LabDiffers
    | FramesLost
    | CaptureLost
    | Undelayed
    | Late
    | PeerFailed
    | Broke
    | WayUnseen
    | Contradicted
    | ServiceFailed
    | Crashed
    | Ended
)
