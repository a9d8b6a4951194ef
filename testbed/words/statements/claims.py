"""Sentences about claims that the wire denies, and protocols that were not kept."""

from testbed.model.outcome import Outcome
from testbed.model.statement import claims as it
from testbed.model.trace import TraceStep
from testbed.words import breaches, packets, reasons
from testbed.words.statements.text import Words


def _all(found: it.Found) -> str:
    return "; ".join(map(breaches.sentence, found.breaches))


def _claims(fact: it.Claims) -> str:
    if fact.outcome is Outcome.NONE:
        return f"{fact.node} says that it has no connection"
    return f"{fact.node} says that it is connected: {fact.outcome}"


def predicted(step: TraceStep | it.Foretold) -> str:
    """What the prediction says."""
    if isinstance(step, TraceStep):
        return f"the prediction says {packets.step(step)!r}"
    return f"the prediction ({step.outcome}) says: {reasons.sentence(step.reason)}"


def _left_by(fact: it.LeftBy) -> str:
    how = "the endpoint that was" if fact.signalled else "another endpoint than"
    return f"{fact.node} left {fact.router} by {how} signalled, {fact.external}"


WORDS: Words = {
    it.Found: lambda found: f"the judge found: {_all(found)}",
    it.NotKept: lambda found: f"the protocol was not kept: {_all(found)}",
    it.NotAllowed: "what the protocol does not allow",
    it.Claims: _claims,
    it.Denied: "{claim}; the wire shows {measured}",
    it.ClaimBut: "{claim}; {but}",
    it.NothingCame: "nothing of {source} came to {target}: {obstacle}",
    it.BytesLeft: "{node} sent bytes of the {traffic} to {destination}",
    it.BytesCame: "bytes of the {traffic} came to {node} from {source}",
    it.EchoUnsent: "{node} sent no byte of the echo",
    it.EchoUnseen: "no byte of the echo that {source} sent came to {target}",
    it.EchoShort: "of {size} bytes of the echo {came} came to {target}",
    it.RefutedBy: "{predicted}; on the wire: {shown}",
    it.LeftBy: _left_by,
}
