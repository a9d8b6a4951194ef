"""From observations to a verdict.  Pure: the wire decides, claims are only compared."""

from collections.abc import Sequence

from testbed.oracle.deviations import Deviation, unexpected
from testbed.oracle.predict import Outcome, Prediction
from testbed.verdict.model import Claim, Judgement, Verdict, WireReading


def judge(
    reading: WireReading,
    prediction: Prediction,
    claims: Sequence[Claim],
    *,
    faults: Sequence[str] = (),
    doubts: Sequence[str] = (),
    crossed: tuple[int, int] | None = None,
    violations: Sequence[str] = (),
    known: Sequence[Deviation] = (),
) -> Verdict:
    """The verdict of one cell.

    ``faults`` are the harness's own troubles: any of them makes the cell
    INCONCLUSIVE.  ``doubts`` are small ones (a frame that was some ms late): they
    cannot make a wrong result look right, but may explain one that differs, so a
    difference is then INCONCLUSIVE, too.  A peer's claim that the wire denies fails
    the cell: whoever reports such a connection to its user reports what is not there.
    So does ``crossed``, packets that passed both ways between peers who do not both claim
    a connection, so that nothing was echoed: whoever denies it is then who is at odds with
    the wire, and whoever claims it is not.  So do any of ``violations``, the ways in which
    the stack broke its protocol.  What ``known``
    deviations account for is let pass, and missed where it is not there.
    """
    if crossed is None:
        findings = [
            f"{_claims(claim)}, the wire shows {reading.outcome} ({claim.words})"
            for claim in claims
            if claim.denied_by(reading.outcome)
        ]
    else:
        findings = [_disowned(claims, crossed)]
    findings = unexpected([*findings, *violations], known)
    predicted = prediction.beside(reading.outcome)
    agrees = reading.outcome is predicted and not findings
    troubles = [*faults, *(() if agrees else doubts)]
    if troubles:
        return Verdict(
            Judgement.INCONCLUSIVE,
            reading.outcome,
            predicted,
            "; ".join(troubles),
            tuple(findings),
            reading.packets,
        )
    return Verdict(
        Judgement.PASS if agrees else Judgement.FAIL,
        reading.outcome,
        predicted,
        prediction.reason if agrees else f"predicted: {prediction.reason}; {reading.evidence}",
        tuple(findings),
        reading.packets,
    )


def _claims(claim: Claim) -> str:
    return f"{claim.node} claims {claim.outcome or 'no direct connection'}"


def _disowned(claims: Sequence[Claim], crossed: tuple[int, int]) -> str:
    """What the wire shows of a connection that not both peers claim, and what each says."""
    there, back = crossed
    words = f"packets crossed both ways (packets {there} and {back}), and"
    if all(claim.outcome in (None, Outcome.NONE) for claim in claims):
        return f"{words} no connection is claimed"
    return f"{words} " + "; ".join(f"{_claims(claim)} ({claim.words})" for claim in claims)


def inconclusive(prediction: Prediction, *faults: str) -> Verdict:
    """The verdict where the harness broke before anything was measured."""
    return Verdict(Judgement.INCONCLUSIVE, None, prediction.outcome, "; ".join(faults))
