"""Why a cell ended as it did: pure, from its evidence alone."""

from testbed.evidence.account import WireAccount
from testbed.explain.causes import root
from testbed.explain.causes.finding import in_order
from testbed.explain.diagram import diagram
from testbed.explain.rented import rented
from testbed.explain.scene import Scene
from testbed.explain.wrong import blame
from testbed.model.batch import collector_off
from testbed.model.explanation import Citation, Evidence, Explanation


def explain(evidence: Evidence, account: WireAccount | None = None) -> Explanation:
    """The cause, the story and the packets of one cell.

    Total: where the evidence is not enough, the cause is UNKNOWN and ``missing`` says
    what it would take.  ``account`` is the evidence as the judge has read it; without one it
    is read here.
    """
    account = account or WireAccount.of(evidence)
    if account.packets is not evidence.packets:
        raise ValueError("the account is of other packets than the evidence")
    with collector_off():
        return _explained(evidence, account)


def _explained(evidence: Evidence, account: WireAccount) -> Explanation:
    scene = Scene(evidence, account)
    finding = root.why(scene)
    wrong, wrong_why = blame(scene, finding)
    decisive = {packet.number: Citation.of(packet) for packet in finding.decisive}
    return Explanation(
        name=evidence.name,
        mechanism=evidence.technique.name,
        measured=evidence.measured,
        predicted=evidence.prediction.beside(evidence.measured),
        judgement=evidence.judgement,
        cause=finding.cause,
        node=finding.node,
        headline=finding.headline,
        story=in_order((*finding.lines, *rented(scene))),
        decisive=tuple(decisive[number] for number in sorted(decisive)),
        wrong=wrong,
        wrong_why=wrong_why,
        missing=finding.missing,
        diagram=diagram(evidence, account.journeys, account.labels, decisive),
    )
