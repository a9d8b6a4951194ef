"""Sentences about packets that hosts sent to one another."""

from testbed.model.statement import Stop
from testbed.model.statement import crossings as it
from testbed.words.statements.text import Words

_STOPS = {
    Stop.RESET: "answered {} with a RST",
    Stop.ICMP: "answered {} with an ICMP error",
    Stop.TAKEN: "took {} for itself",
    Stop.DROPPED: "dropped {}",
}


def _some(count: int) -> str:
    return "a packet" if count == 1 else f"{count} packets"


def _they(count: int) -> str:
    return "it" if count == 1 else "them"


def _reached(fact: it.Reached) -> str:
    words = f"{fact.node} sent {_some(fact.count)} to {fact.destination} over {fact.protocol}"
    return f"{words}: {fact.target} got {_they(fact.count)}"


def _stopped(fact: it.Stopped) -> str:
    words = f"{fact.node} sent {_some(fact.count)} to {fact.destination} over {fact.protocol}"
    return f"{words}: {fact.router} {_STOPS[fact.stop].format(_they(fact.count))}"


WORDS: Words = {
    it.Reached: _reached,
    it.Stopped: _stopped,
    it.CaseTold: "{reason}",
    it.NothingCrossed: "packets from host to host",
}
