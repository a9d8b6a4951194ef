"""Where measured and predicted differ: who is at fault, and by which packets."""

from testbed.explain.causes.finding import Finding
from testbed.explain.conformance import violations
from testbed.explain.refuted import refuted
from testbed.explain.scene import Scene
from testbed.model.breach import Belated
from testbed.model.explanation import Cause, Citation, Line, Wrong
from testbed.model.fault import PeerFailed
from testbed.model.statement.claims import Found
from testbed.model.verdict import Judgement

# A peer's own doing, whatever NATs do.
_PEERS = frozenset(
    {
        Cause.FALSE_CLAIM,
        Cause.PROTOCOL_VIOLATION,
        Cause.NEVER_SENT,
        Cause.SIGNALLED_STALE,
        Cause.PORT_NOT_SHARED,
        Cause.HANDSHAKE_FAILED,
        Cause.ROLE_CONFLICT,
    }
)
# Where neither a NAT's rules nor the oracle's model need be wrong.
_NOBODY_KNOWS = frozenset(
    {Cause.UNKNOWN, Cause.PEER_FAILED, Cause.RELAY_REFUSED, Cause.LEASE_EXPIRED}
)
# What the harness provides, and a run needs.
_HARNESS = frozenset({Cause.HARNESS_FAULT, Cause.RELAY_UNREACHABLE, Cause.LOST_ON_LINK})


def blame(scene: Scene, finding: Finding) -> tuple[Wrong, Line | None]:
    """Who, and why; nobody where all is as predicted, and each NAT was what it declares."""
    if scene.evidence.judgement is Judgement.PASS:
        denied = next(iter(violations(scene)), None)
        return (Wrong.NAT, denied.line) if denied else (Wrong.NOBODY, None)
    why = Line(finding.headline, tuple(Citation.of(packet) for packet in finding.decisive))
    if finding.cause is Cause.HARNESS_FAULT:
        return Wrong.HARNESS, why
    if finding.cause in (Cause.FALSE_CLAIM, Cause.PROTOCOL_VIOLATION, Cause.NEVER_SENT):
        return Wrong.PEER, why
    if finding.cause is Cause.PEER_FAILED and _broke_contract(scene, finding):
        return Wrong.PEER, why
    found = violations(scene)
    if found:
        near = [one for one in found if one.node == finding.node]
        return Wrong.NAT, (near or list(found))[0].line
    if finding.cause in _PEERS:
        return Wrong.PEER, why
    if finding.cause in _HARNESS:
        return Wrong.HARNESS, why
    if finding.cause in _NOBODY_KNOWS or scene.whole.trouble:
        return Wrong.UNDECIDED, None
    measured = scene.evidence.measured
    if measured is scene.evidence.prediction.beside(measured):
        return Wrong.UNDECIDED, None
    return _late(scene) or (Wrong.PREDICTION, refuted(scene, finding))


def _late(scene: Scene) -> tuple[Wrong, Line] | None:
    """Whoever was late by itself did not do what was predicted."""
    late = tuple(one for one in scene.evidence.findings if isinstance(one, Belated))
    return (Wrong.PEER, Line(Found(late))) if late else None


def _broke_contract(scene: Scene, finding: Finding) -> bool:
    failed = (one for one in scene.evidence.faults if isinstance(one, PeerFailed))
    return any(one.broke_contract and one.node == finding.node for one in failed)
