"""Runs that measured nothing: the harness broke, or a peer did."""

from testbed.explain.causes import claims
from testbed.explain.causes.finding import Finding, line
from testbed.explain.scene import Scene
from testbed.model.explanation import Cause
from testbed.model.fault import Clash, Contradicted, Fault, PeerFailed
from testbed.model.statement.runs import HarnessBroke, PeerBroke


def why(scene: Scene) -> Finding | None:
    """What broke; None where the run can be asked itself."""
    faults = scene.evidence.faults
    if own := tuple(fault for fault in faults if not _has_a_cause(fault)):
        return Finding(Cause.HARNESS_FAULT, None, HarnessBroke(own))
    for fault in faults:
        if isinstance(fault, PeerFailed):
            broke = PeerBroke(fault.node, fault.message)
            said = tuple(line(claims.said(side)) for side in scene.sides if side.events)
            return Finding(Cause.PEER_FAILED, fault.node, broke, said)
    return None


def _has_a_cause(fault: Fault) -> bool:
    """True of what is told better by a cause than as a fault of the harness in general."""
    if isinstance(fault, Contradicted):
        return fault.clash in (Clash.HARNESS_BLAMED, Clash.NOT_TRIED)  # the packets tell of a cause
    return isinstance(fault, PeerFailed)
