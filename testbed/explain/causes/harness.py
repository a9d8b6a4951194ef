"""Runs that measured nothing: the harness broke, or a peer did."""

from testbed.explain.causes.finding import Finding
from testbed.explain.scene import Scene
from testbed.model.explanation import Cause
from testbed.model.fault import Clash, Contradicted, Fault, NeverSent, PeerFailed
from testbed.words import sentence


def why(scene: Scene) -> Finding | None:
    """What broke; None where the run can be asked itself."""
    faults = scene.evidence.faults
    own = [fault for fault in faults if not _has_a_cause(fault)]
    if own:
        words = "; ".join(map(sentence, own))
        return Finding(Cause.HARNESS_FAULT, None, f"the harness was at fault: {words}")
    for fault in faults:
        if isinstance(fault, PeerFailed):
            words = fault.message.partition("\n")[0]
            return Finding(Cause.PEER_FAILED, fault.node, f"{fault.node or 'a peer'}: {words}")
    for fault in faults:
        if isinstance(fault, NeverSent):
            words = f"{fault.node} sent nothing, and should have"
            return Finding(Cause.NEVER_SENT, fault.node, words)
    return None


def _has_a_cause(fault: Fault) -> bool:
    """True of what is told better by a cause than as a fault of the harness in general."""
    if isinstance(fault, Contradicted):
        return fault.clash is Clash.HARNESS_BLAMED  # by a cause, of which the packets tell
    return isinstance(fault, PeerFailed | NeverSent)
