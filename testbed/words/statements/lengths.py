"""Sentences about packets that were too long for a link."""

from testbed.model.statement import lengths as it
from testbed.words.statements.text import Words


def _vanished(fact: it.Vanished) -> str:
    return (
        f"{fact.node}'s packet of {fact.length} bytes left {fact.vantage} for a link that loses "
        f"what is longer than {fact.largest}, and tells nobody"
    )


def _echo(fact: it.EchoVanished) -> str:
    how = "by the relay" if fact.relayed else "directly"
    return (
        f"the peers are connected {how}, and their echo does not come: {_vanished(fact.vanished)}"
    )


WORDS: Words = {
    it.Vanished: _vanished,
    it.EchoVanished: _echo,
    it.Unheeded: (
        "{router} has {node}'s packet of {length} bytes for a link of {mtu}, and tells {node}, "
        "which forbids fragments and sends no shorter ones"
    ),
}
