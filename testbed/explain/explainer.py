"""Why a cell ended as it did: pure, from its evidence alone."""

from testbed.explain.model import Cause, Evidence, Explanation, Ladder, Wrong


def explain(evidence: Evidence) -> Explanation:
    """The cause, the story and the packets of one cell.  Never fails for want of evidence."""
    harness = bool(evidence.faults)
    return Explanation(
        name=evidence.name,
        mechanism=evidence.mechanism,
        measured=evidence.measured,
        predicted=evidence.prediction.outcome,
        judgement=evidence.judgement,
        cause=Cause.HARNESS_FAULT if harness else Cause.UNKNOWN,
        node=None,
        headline="; ".join(evidence.faults) if harness else "the evidence does not say why",
        story=(),
        decisive=(),
        wrong=Wrong.HARNESS if harness else Wrong.UNDECIDED,
        wrong_why=None,
        missing=() if harness else ("no rule explains this cell",),
        ladder=Ladder((), ()),
    )
