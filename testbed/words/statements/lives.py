"""Sentences about the lives of connections."""

from testbed.model.life import MomentKind
from testbed.model.statement import lives as it
from testbed.words.statements.text import Words

_MOMENTS = {
    MomentKind.FAULT: "{said}",
    MomentKind.LAST_ECHO: "the last echo before the gap comes back to {node}",
    MomentKind.STOPPED: "a packet of the echo gets no further than {said}",
    MomentKind.ARRIVED: "a packet of {node} comes to {said}, and is not answered",
    MomentKind.OPENING: "{node} takes part in the opening of another connection",
    MomentKind.FIRST_ECHO: "the first echo after the gap comes back to {node}",
    MomentKind.RELAYED_ECHO: "the first echo over the relay comes back to {node}",
    MomentKind.DIRECT_ECHO: "the first echo that is direct again comes back to {node}",
    MomentKind.LOST: "{node} says that a connection is lost: {said}",
    MomentKind.UPGRADED: "{node} says that its connection is direct: {said}",
    MomentKind.GIVEN_UP: "{node} gives up: {said}",
}


def _happened(fact: it.Happened) -> str:
    what = _MOMENTS[fact.kind].format(node=fact.node, said=fact.said)
    return f"{fact.seconds:+.2f} s: {what}"


def _connected(fact: it.Connected) -> str:
    how = "over the relay" if fact.relayed else "directly"
    return f"{fact.start:+.2f} s to {fact.end:+.2f} s: connected {how}, at {fact.at}"


WORDS: Words = {it.Connected: _connected, it.Happened: _happened}
