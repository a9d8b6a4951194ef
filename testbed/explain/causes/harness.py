"""Runs that measured nothing: the harness broke, or a peer did."""

import re

from testbed.explain.causes.finding import Finding
from testbed.explain.model import Cause
from testbed.explain.scene import Scene

_PEER = re.compile(r"^peer(?: \[(?P<node>[\w-]+)\])?: (?P<what>.*)", re.DOTALL)
_SENT_NOTHING = re.compile(r"^(?P<node>[\w-]+) sent nothing: ")
_NEVER = " was inf ms late"  # what never left


def why(scene: Scene) -> Finding | None:
    """What broke; None where the run can be asked itself."""
    faults = scene.evidence.faults
    if not faults:
        return None
    peers = [fault for fault in faults if _PEER.match(fault) or _SENT_NOTHING.match(fault)]
    own = [fault for fault in faults if fault not in peers and not (peers and _NEVER in fault)]
    if own:
        return Finding(Cause.HARNESS_FAULT, None, f"the harness was at fault: {'; '.join(own)}")
    for fault in faults:
        if crash := _PEER.match(fault):
            words = crash["what"].splitlines()[0]
            return Finding(
                Cause.PEER_FAILED, crash["node"], f"{crash['node'] or 'a peer'}: {words}"
            )
    silent = next(found for fault in faults if (found := _SENT_NOTHING.match(fault)))
    return Finding(
        Cause.NEVER_SENT, silent["node"], f"{silent['node']} sent nothing, and should have"
    )
