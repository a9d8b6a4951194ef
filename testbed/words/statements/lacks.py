"""Sentences about evidence that is not there."""

from testbed.model.statement import lacks as it
from testbed.words.statements.text import Words


def _events(fact: it.Events) -> str:
    said = "what the peers said: their events"
    return f"{said}, with the addresses that were signalled" if fact.signalled else said


WORDS: Words = {
    it.NotRecorded: "the packets were not recorded",
    it.Empty: "the capture holds no packet",
    it.Gaps: "{missing} of the capture's {last} packets are not in it any more",
    it.Blind: "no packet at {vantage} is in the capture",
    it.DropCounters: "the drop counters of {router}",
    it.RulesTold: "the drop counters of {router}, which tell these rules apart",
    it.CountsFewer: "{router} counts fewer packets that it dropped than vanish there",
    it.Conntrack: (
        "the conntrack events of {router}, which tell whether that packet took the tuple"
    ),
    it.Events: _events,
    it.AfterVantage: "what became of the packets after {vantage}",
    it.Became: "where {told} became {source}: the packets before and after each NAT",
    it.LearnedBy: "the packet by which {node} learned {told}",
    it.ReasonFor: "a reason for {rule.value!r} in what {router}'s profile declares",
    it.ConnectionPackets: "the packets of the connection",
    it.NatPackets: "the packets of the NAT that brought it there",
    it.HowIn: "how it came in",
    it.Explainer: "an explainer that reads this cell",
}
