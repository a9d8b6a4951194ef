"""From observations to a verdict.  Pure: the wire decides, claims are only compared."""

from collections.abc import Collection, Sequence

from testbed.model.breach import Breach, Claim, Disowned, FalseClaim, NeverSent, ReceiptDisputed
from testbed.model.deviation import ENDS, Deviation, Ends, Pattern
from testbed.model.fault import Fault
from testbed.model.judgement import Verdict, WireReading
from testbed.model.outcome import Outcome
from testbed.model.prediction import Prediction
from testbed.model.verdict import AsPredicted, Grounds, Judgement, Otherwise, Troubled
from testbed.predict.deviations import unexpected


def judge(
    reading: WireReading,
    prediction: Prediction,
    claims: Sequence[Claim],
    *,
    faults: Sequence[Fault] = (),
    doubts: Sequence[Fault] = (),
    crossed: tuple[int, int] | None = None,
    violations: Sequence[Breach] = (),
    known: Sequence[Deviation] = (),
    ends: Ends = ENDS,
    untold: Collection[Pattern] = (),
) -> Verdict:
    """The verdict of one cell.

    ``faults`` are the harness's own troubles: any of them makes the cell
    INCONCLUSIVE.  ``doubts`` are small ones (a frame that was some ms late): they
    cannot make a wrong result look right, but may explain one that differs, so a
    difference is then INCONCLUSIVE, too, but for a claim of who never sent, or a receipt
    for more than passed.  A peer's claim that the wire denies fails the cell: whoever
    reports such a connection to its user reports what is not there.
    So does ``crossed``, packets that passed both ways between peers who do not both claim
    a connection, so that nothing was echoed: whoever denies it is then who is at odds with
    the wire, and whoever claims it is not.  So do any of ``violations``, the ways in which
    the stack broke its protocol.  What ``known``
    deviations account for is let pass, and missed where it is not there, unless it is
    ``untold``: the run cannot show it; ``ends`` are the hosts of the dialer and of the
    listener.
    """
    if crossed is None:
        claimed: list[Breach] = [
            FalseClaim(claim.node, claim.outcome, reading.outcome, claim.said)
            for claim in claims
            if claim.denied_by(reading.outcome) and claim.denied_by(reading.connected)
        ]
    else:
        claimed = [Disowned(*crossed, tuple(claims))]
    findings = tuple(unexpected([*claimed, *violations], known, ends, untold))
    predicted = prediction.beside(reading.outcome)
    agrees = reading.outcome is predicted and not findings
    excused = not agrees and not _lied(findings)
    troubles = (*faults, *(doubts if excused else ()))
    because: Grounds
    if troubles:
        judgement, because = Judgement.INCONCLUSIVE, Troubled(troubles)
    elif agrees:
        judgement, because = Judgement.PASS, AsPredicted(prediction.reason)
    else:
        judgement, because = Judgement.FAIL, Otherwise(prediction.reason, reading.path)
    return Verdict(judgement, reading.outcome, predicted, because, findings, reading.packets)


def _lied(findings: Sequence[Breach]) -> bool:
    """Whether somebody claims a direct connection and has not sent, or signs for what did not pass.

    No machine makes him.
    """
    if any(isinstance(one, ReceiptDisputed) and one.carriage.exceeds for one in findings):
        return True
    silent = {one.node for one in findings if isinstance(one, NeverSent)}
    direct = (o for o in findings if isinstance(o, FalseClaim) and o.claimed is Outcome.DIRECT)
    return any(one.node in silent for one in direct)


def inconclusive(prediction: Prediction, *faults: Fault) -> Verdict:
    """The verdict where the harness broke before anything was measured."""
    return Verdict(Judgement.INCONCLUSIVE, None, prediction.outcome, Troubled(faults))
