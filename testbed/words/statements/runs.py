"""Sentences about runs that broke, and connections that came to nothing."""

from testbed.model.statement import runs as it
from testbed.words import breaches, faults
from testbed.words.statements.text import Words


def _harness_broke(fact: it.HarnessBroke) -> str:
    return f"the harness was at fault: {'; '.join(map(faults.sentence, fact.faults))}"


def _peer_broke(fact: it.PeerBroke) -> str:
    words = fact.message.partition("\n")[0]  # the rest is a log
    return f"{fact.node or 'a peer'}: {words}"


def _nothing_came_of_it(fact: it.NothingCameOfIt) -> str:
    words = "packets passed both ways, and no connection came of it"
    reasons = "; ".join(f"{node}: {reason}" for node, reason in fact.reasons)
    return f"{words} ({reasons})" if reasons else words


def _idle(fact: it.Idle) -> str:
    told = ", ".join(map(str, fact.told)) or "an address"
    return f"{fact.node} sent nothing towards {fact.other}, though {told} was signalled"


def _explainer_failed(fact: it.ExplainerFailed) -> str:
    where = f" (its folder has the traceback in {fact.kept})" if fact.kept else ""
    return f"the explainer failed: {fact.error}: {fact.message}{where}"


WORDS: Words = {
    it.HarnessBroke: _harness_broke,
    it.PeerBroke: _peer_broke,
    it.SentNothing: "{node} sent nothing, and should have",
    it.GaveUpEarly: lambda fact: breaches.tried_little(fact.breach),
    it.ExplainerFailed: _explainer_failed,
    it.AsFarAs: "as far as it went: {what}",
    it.NoPackets: "without packets there is nothing to go by",
    it.CameTo: "{node}'s packets came to {target}, the first at {first_ms:.1f} ms",
    it.SentThoughOff: "{node} sent to {destination}, though punching is off",
    it.StillnessUnseen: "whether {node} kept still is not to be seen",
    it.SameRole: "{node} answered a check with {code}: both have the same role",
    it.NothingCameOfIt: _nothing_came_of_it,
    it.NotAnswer: "{node} sends to {targets}, and what comes is from {source}: it is no answer",
    it.CameFrom: "{node}'s packet came from {source}",
    it.AnsweredTo: "{node} answered {source}, and that came to {target}",
    it.NoneInCapture: "no packet from {node} to the other peer is in the capture",
    it.SentNone: "{node} sent nothing towards the other peer",
    it.OnlyAnswers: "{node} only answers, and nothing came to it",
    it.PunchingOff: (
        "hole punching is off in this control: "
        "neither {dialer} nor {listener} sends towards the other"
    ),
    it.GaveUp: "{node} gave up before it sent anything to the other peer: {reason}",
    it.NeverOffered: "{node} never said by which address it is reached",
    it.Idle: _idle,
    it.DialsApart: (
        "{node} listens on port {port} and dials from others, {ports} of them towards "
        "public nodes: no address that those see of it is one by which it is reached"
    ),
}
