"""From observations to a verdict.  Pure: the wire decides, claims are only compared."""

from collections.abc import Sequence

from testbed.oracle.deviations import Deviation, unexpected
from testbed.oracle.predict import Prediction
from testbed.verdict.model import Claim, Judgement, Verdict, WireReading


def judge(
    reading: WireReading,
    prediction: Prediction,
    claims: Sequence[Claim],
    *,
    faults: Sequence[str] = (),
    doubts: Sequence[str] = (),
    denied: tuple[str, tuple[int, ...]] | None = None,
    violations: Sequence[str] = (),
    known: Sequence[Deviation] = (),
) -> Verdict:
    """The verdict of one cell.

    ``faults`` are the harness's own troubles: any of them makes the cell
    INCONCLUSIVE.  ``doubts`` are small ones (a frame that was some ms late): they
    cannot make a wrong result look right, but may explain one that differs, so a
    difference is then INCONCLUSIVE, too.  A peer's claim that the wire denies fails
    the cell: whoever reports such a connection to its user reports what is not there.
    So does ``denied``, a connection on the wire that no peer admits, and any of
    ``violations``, the ways in which the stack broke its protocol.  What ``known``
    deviations account for is let pass, and missed where it is not there.
    """
    findings = [
        f"{claim.node} claims {claim.outcome or 'no direct connection'}, "
        f"the wire shows {reading.outcome} ({claim.words})"
        for claim in claims
        if claim.denied_by(reading.outcome)
    ]
    if denied is not None:
        findings.append(f"{denied[0]} (packets {denied[1][0]} and {denied[1][1]})")
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


def inconclusive(prediction: Prediction, *faults: str) -> Verdict:
    """The verdict where the harness broke before anything was measured."""
    return Verdict(Judgement.INCONCLUSIVE, None, prediction.outcome, "; ".join(faults))
