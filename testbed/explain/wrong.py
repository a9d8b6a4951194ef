"""Where measured and predicted differ: who is at fault, and by which packets."""

from testbed.explain.causes.finding import Finding
from testbed.explain.model import Cause, Line, Wrong
from testbed.explain.scene import Scene
from testbed.verdict.model import Judgement

_PEERS = frozenset(
    {Cause.FALSE_CLAIM, Cause.PROTOCOL_VIOLATION, Cause.NEVER_SENT, Cause.SIGNALLED_STALE}
)


def blame(scene: Scene, finding: Finding) -> tuple[Wrong, Line | None]:
    """Who, and why; nobody where all is as predicted."""
    if scene.evidence.judgement is Judgement.PASS:
        return Wrong.NOBODY, None
    if finding.cause is Cause.HARNESS_FAULT:
        return Wrong.HARNESS, Line(finding.headline)
    return Wrong.UNDECIDED, None
