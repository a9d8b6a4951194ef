"""Evidence of a cell with a part of it taken away."""

from dataclasses import replace

from testbed.model.explanation import Evidence
from testbed.model.fault import Late


def patient(evidence: Evidence) -> Evidence:
    """A machine that is busy with other tests is no fault of a cell that is broken on purpose."""
    faults = tuple(fault for fault in evidence.faults if not isinstance(fault, Late))
    return replace(evidence, faults=faults)


def without(evidence: Evidence, *nodes: str, counted: bool) -> Evidence:
    """Nothing that was recorded at ``nodes``, nothing that was said or counted of it.

    ``counted``: the packets that are left keep their numbers, which leaves gaps.
    """
    left = [p for p in evidence.packets or () if p.node not in nodes]
    if not counted:
        left = [replace(packet, number=number) for number, packet in enumerate(left, 1)]
    return replace(evidence, packets=left, flows=None, drops=None, events=None, faults=())
