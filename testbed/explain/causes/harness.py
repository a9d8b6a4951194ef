"""Runs that measured nothing: the harness broke, or a peer did, or what was said is not so."""

import re

from testbed.explain.causes.finding import Finding, line, unknown
from testbed.explain.model import Cause
from testbed.explain.scene import Scene
from testbed.explain.sides import Side
from testbed.oracle.predict import Outcome
from testbed.peers.contract import Connected, Failed, FailureClass, Upgraded

_PEER = re.compile(r"^peer(?: \[(?P<node>[\w-]+)\])?: (?P<what>.*)", re.DOTALL)
_SENT_NOTHING = re.compile(r"^(?P<node>[\w-]+) sent nothing: ")
_NUMBER = re.compile(r"#(\d+)")  # of a packet, as its text has it
_NEVER = " was inf ms late"  # what never left


def why(scene: Scene) -> Finding | None:
    """What broke, or who said what is not so; None where the run can be asked itself."""
    return _broken(scene) or _claimed(scene)


def _broken(scene: Scene) -> Finding | None:
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


def _claimed(scene: Scene) -> Finding | None:
    """A peer's last word that the wire denies, or a protocol broken."""
    evidence = scene.evidence
    if not evidence.findings or evidence.measured is None:
        return None
    if any(s.failure and s.failure.failure is FailureClass.LOST for s in scene.sides):
        return None  # it was so when it was said, perhaps
    if evidence.events is None or not evidence.packets:
        lacking = scene.whole.trouble or ("what the peers said: their events",)
        return unknown(f"the judge found: {'; '.join(evidence.findings)}", *lacking)
    for side in scene.sides:
        claim = _claim(side)
        if claim is not None and claim is not evidence.measured:
            return _false(scene, side, claim)
    if evidence.measured is Outcome.NONE:
        return None  # packets crossed, and nobody made a connection of it: that has causes
    return _violated(scene)


def _violated(scene: Scene) -> Finding:
    """The packets are those that the judge's words name."""
    words = "; ".join(scene.evidence.findings)
    numbers = {int(number) for number in _NUMBER.findall(words)}
    shown = tuple(p for p in scene.evidence.packets or () if p.number in numbers)
    return Finding(
        Cause.PROTOCOL_VIOLATION,
        shown[0].node if shown else None,
        f"the protocol was not kept: {words}",
        (line("what the protocol does not allow", *shown),) if shown else (),
        shown,
    )


def _claim(side: Side) -> Outcome | None:
    """As `testbed.scenarios.hole_punch` reads a peer's events."""
    for event in reversed(side.events):
        if isinstance(event, Failed):
            return Outcome.NONE
        if isinstance(event, Upgraded):
            return Outcome.DIRECT
        if isinstance(event, Connected):
            return Outcome(event.path.value)
    return Outcome.NONE if side.events else None


def _false(scene: Scene, side: Side, claim: Outcome) -> Finding:
    measured = scene.evidence.measured
    assert measured is not None
    tries = [j for s in scene.sides for j in scene.tries(s) if j.arrived]
    relayed = [j for j in scene.asked(side) if scene.to_server(j) and j.first.payload]
    shown = tries[-1:] if measured is Outcome.DIRECT else relayed[-1:]
    words = f"{side.node} says that it is connected: {claim.value}"
    if claim is Outcome.NONE:
        words = f"{side.node} says that it has no connection"
    lines = [
        line(f"the wire shows {measured.value}: {j.sender}'s packets went to "
             f"{j.first.destination}", j.first, j.last)
        for j in shown
    ]  # fmt: skip
    return Finding(
        Cause.FALSE_CLAIM,
        side.node,
        f"{words}; the wire shows {measured.value}",
        tuple(lines),
        tuple(j.last for j in shown),
    )
