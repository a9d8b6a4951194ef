"""Do the verdict and the explanation of a run say the same?  If not, neither is believed.

Both draw on one account of the packets.  What they make of it is held together here, so
that no report shows a verdict beside an explanation that denies it.
"""

from dataclasses import replace

from testbed.model.explanation import Cause, Explanation, Wrong
from testbed.model.fault import Clash, Contradicted, Fault
from testbed.model.judgement import Verdict
from testbed.model.outcome import Outcome
from testbed.model.verdict import Judgement, Troubled

# How a packet got through.
THROUGH = frozenset(
    {
        Cause.BOTH_OPENED,
        Cause.FILTER_ADMITS,
        Cause.LEARNED_ADDRESS,
        Cause.REVERSED,
        Cause.REACHABLE,
        Cause.HAIRPINNED,
        Cause.SAME_NETWORK,
        Cause.PORT_MAPPED,
    }
)


# Why there is no connection, where that is no matter of the NATs: nobody knows then whether
# there would have been one.
_GAVE_UP = frozenset({Cause.PEER_FAILED, Cause.NEVER_SENT, Cause.RELAY_UNREACHABLE})


def contradiction(
    verdict: Verdict, explanation: Explanation, *, by_chance: bool = False
) -> Contradicted | None:
    """How ``explanation`` denies ``verdict``; None where the two agree.

    - The harness is at fault for the one exactly where it is for the other: the verdict is
      INCONCLUSIVE, or the explanation does not blame the harness.
    - A run that is INCONCLUSIVE was kept from being a measurement, and that is its cause.
    - Where all passes, each NAT decided as it was measured to.
    - A direct connection that passes got through in a way that is known, and where there was
      no direct connection nothing did, and why is known.  Where there was none at all, no peer
      had given up for a reason of its own; ``by_chance``: but for what got lost, which is foreseen.
    """
    cause, judgement = explanation.cause, verdict.judgement
    # A link of ours that loses nothing by chance has lost something.
    lost = judgement is Judgement.PASS and cause is Cause.LOST_ON_LINK and not by_chance
    blamed = cause is Cause.HARNESS_FAULT or explanation.wrong is Wrong.HARNESS or lost
    if judgement is Judgement.INCONCLUSIVE:
        troubled = blamed or cause is Cause.PEER_FAILED
        return None if troubled else Contradicted(Clash.UNTROUBLED, explanation.node)
    if blamed:
        return Contradicted(Clash.HARNESS_BLAMED, explanation.node)
    if judgement is Judgement.PASS and explanation.wrong is Wrong.NAT:
        return Contradicted(Clash.NAT_DENIED, explanation.node)
    if judgement is Judgement.PASS and (verdict.measured is Outcome.DIRECT) != (cause in THROUGH):
        direct = verdict.measured is Outcome.DIRECT
        clash = Clash.WAY_UNKNOWN if direct else Clash.WAY_FOUND
        return Contradicted(clash, explanation.node)
    if judgement is Judgement.PASS and cause is Cause.UNKNOWN and not by_chance:
        return Contradicted(Clash.UNEXPLAINED, explanation.node)
    unconnected = judgement is Judgement.PASS and verdict.measured is Outcome.NONE
    if unconnected and cause in _GAVE_UP and not by_chance:
        return Contradicted(Clash.NOT_TRIED, explanation.node)
    return None


def distrusted(verdict: Verdict, fault: Fault) -> Verdict:
    """``verdict`` where ``fault`` keeps it from being believed."""
    earlier = verdict.because.faults if isinstance(verdict.because, Troubled) else ()
    because = Troubled((*earlier, fault))
    return replace(verdict, judgement=Judgement.INCONCLUSIVE, because=because)
