"""Sentences about packets on their way, and the NATs that did not let them in or out."""

from testbed.model.refusal import Refusal
from testbed.model.statement import Stop
from testbed.model.statement import filters as it
from testbed.words.statements.text import Words

STOPS = {
    Stop.RESET: "answered it with a RST",
    Stop.ICMP: "answered it with an ICMP error",
    Stop.TAKEN: "took it itself",
    Stop.DROPPED: "dropped it",
}
_RULES = {
    Refusal.UDP_BLOCKED: "lets no UDP out",
    Refusal.TCP_BLOCKED: "lets no TCP out",
    Refusal.UDP_PORT_BLOCKED: "lets no UDP out to that port: {what}",
    Refusal.TCP_PORT_BLOCKED: "lets no TCP out to that port: {what}",
    Refusal.QUOTA: "allows a subscriber {quota} {protocol} mappings, and all were in use",
    Refusal.EXHAUSTED: "has no port left for {what}",
    Refusal.COLLISION: "gives {what} no port, since somebody else has it",
    Refusal.HAIRPIN: "does not hairpin: {what} is for its own outside address",
    Refusal.UNROUTED: "has no way for {what}",
}


def _syn_early(fact: it.SynEarly) -> str:
    answer = "a RST" if fact.stop is Stop.RESET else "an ICMP error"
    return (
        f"{fact.node}'s SYN came to {fact.router} {fact.early_ms:.1f} ms before {fact.target}'s "
        f"own left it, and was answered with {answer}"
    )


def _last_seen(fact: it.LastSeen) -> str:
    at = f"at {fact.vantage}" if fact.vantage else "on its way"
    if fact.target is None:
        return f"what {fact.source} sent is last seen {at}"
    return f"what {fact.source} sent to {fact.target} is last seen {at}"


def _by_rules(fact: it.StoppedByRules) -> str:
    rules = " or ".join(fact.rules) or "none that is known"
    return f"{fact.router} stopped {fact.node}'s packets, by the rule {rules}"


def _lets_no_out(fact: it.LetsNoOut) -> str:
    protocol = fact.protocol.upper()
    what = f"{protocol} from {fact.node} to {fact.destination}"
    words = _RULES.get(fact.rule, "drops {what}")
    return f"{fact.router} {words.format(what=what, quota=fact.quota, protocol=protocol)}"


def _stopped_many(fact: it.StoppedMany) -> str:
    times = f"at {fact.first_ms:.1f} ms"
    if fact.last_ms is not None:
        times = f"from {fact.first_ms:.1f} ms to {fact.last_ms:.1f} ms"
    many = "a packet" if fact.count == 1 else f"{fact.count} packets"
    return f"{fact.router} stopped {many} of {fact.node}, {times}"


def _dropped(fact: it.Dropped) -> str:
    if fact.rules:
        return f"dropped: {' or '.join(fact.rules)}"
    return "dropped: a private address" if fact.private else "dropped"


def _answered(fact: it.Answered) -> str:
    if fact.protocol is None:
        return "rejected"
    return f"answered: {fact.label or ('RST' if fact.protocol == 'tcp' else 'ICMP error')}"


WORDS: Words = {
    it.NotSeenInside: "{node}'s packets came to {router} and are not seen inside",
    it.NotSeenOutside: "{node}'s packets came to {router} and are not seen to leave it",
    it.Knocked: (
        "{node}'s packet from {source} came to {place} at {at_ms:.1f} ms; {router} {stop}"
    ),
    it.Stopped: "{router} {stop}",
    it.OwnLeft: "{node}'s own packet to {remote} left {router} at {at_ms:.1f} ms",
    it.NotOpenYet: (
        "{router} was not open for {source} yet: {node}'s own packet left it {late_ms:.1f} ms later"
    ),
    it.SynEarly: _syn_early,
    it.AttemptReset: (
        "{node}'s connection attempt to {remote} was answered with a RST, "
        "which {router} took for its end"
    ),
    it.FoundClosed: "{reset}: {node}'s SYN found {router} closed",
    it.LetOut: (
        "{router} let {node} out from {external} to {remote} at {at_ms:.1f} ms, "
        "and {stop} when it was answered"
    ),
    it.ClosedAgain: "{router} is closed for {source}, to whom {external} has sent",
    it.Opens: "{node} sends to {remote}: that opens {external} at {router} for it",
    it.NotLetIn: "{router} did not let {node} in",
    it.Uninvited: (
        "{router} lets in only whom somebody inside has sent to, and nobody had sent to {source}"
    ),
    it.LeaseGiven: "{router} gave its port {port} for {seconds} s",
    it.LeaseOver: "{given}, and {node}'s packet came {over_s:.1f} s after that",
    it.LastSeen: _last_seen,
    it.NeverCame: "{count} packets from {source} left {vantage} and never came to {node}",
    it.KnownPrivate: "{target} was known to {source} by a private address alone: {addresses}",
    it.NoRoute: "{source} sends to {addresses}, to which there is no way from its network",
    it.StoppedByRules: _by_rules,
    it.StoppedByRule: "{router} stopped {node}'s packets by its rule {rule.value!r}",
    it.LetsNoOut: _lets_no_out,
    it.StoppedMany: _stopped_many,
    it.Dropped: _dropped,
    it.Answered: _answered,
    it.LostOnWay: "lost on the way",
    it.TakenByRouter: "taken by the router itself",
}
