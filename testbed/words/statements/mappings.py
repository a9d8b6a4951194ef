"""Sentences about the endpoints by which NATs sent packets out."""

from testbed.model.statement import mappings as it
from testbed.words.statements.text import Words


def _unkept(fact: it.Unkept) -> str:
    words = f"nothing of {fact.internal} kept {fact.external} alive for {fact.idle_s:.1f} s"
    if fact.ended_ms is None:
        return words
    return f"{words}; its conntrack ended the flow at {fact.ended_ms:.1f} ms"


WORDS: Words = {
    it.ComesFrom: "{node}'s packets come from {source} and not from {told}",
    it.PacketsFrom: "{node}'s packets come from {source}",
    it.ToldOther: "{node} told {told}, and its packets come from {source}",
    it.HadMapped: (
        "{router} had mapped {internal} to {told} towards {remote}, as its conntrack tells"
    ),
    it.MappingChanged: (
        "{router} changed {node}'s mapping for another destination: "
        "{told} was signalled, {external} is used towards {remote}"
    ),
    it.SendsToNothing: "{other} sends to {told}, from where nothing of {node} comes",
    it.NeverSource: "{node} told {told}, which was never the source of a packet of its own",
    it.OtherSocket: "{node} signalled the address of {signalled}, and sends from {used}",
    it.AskedAs: (
        "{node} asked {remote} how it is seen: {router} sent that out as {external}, "
        "which was signalled"
    ),
    it.LeftAs: "towards {remote} {router} sends {node} out as {external}",
    it.LeavesAfterEarly: (
        "{node} leaves {router} as {external}, after an early packet to {told} was stopped there"
    ),
    it.TookEarly: (
        "{source} sent to {told} {lead_ms:.1f} ms before {node} sent there: "
        "{router} took that packet itself, and {told} is its own towards {source} since"
    ),
    it.TupleTaken: (
        "an early packet from {source} took {told} at {router}, so {node} leaves as {external}"
    ),
    it.Uses: "{router} uses {external} towards {remote} for {internal}",
    it.Collided: "{uses}, so {node} leaves as {external}",
    it.Unkept: _unkept,
    it.Forgets: (
        "{router} forgets a mapping after {allowed_s:g} s, and {external} "
        "was idle for {idle_s:.1f} s"
    ),
}
