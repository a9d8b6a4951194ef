"""Sentences about verdicts of AutoNAT."""

from testbed.model.statement import reachability as it
from testbed.words.statements.text import Words


def _not_asked(fact: it.NotAsked) -> str:
    return (
        f"no verdict (v2) on {fact.unasked} of {fact.addresses} addresses: "
        f"the NAT maps for each server anew, and {fact.asked or 'none'} are asked about"
    )


WORDS: Words = {
    it.NoneAsked: "no verdict (v1, v2): no packet reaches a server, so none can be asked",
    it.ServerOpened: (
        "protocol error ({versions}): "
        "the server's own address had opened the filter; a stranger is kept out"
    ),
    it.ServersKeptOut: (
        "protocol error ({version}): the servers do not get in where a stranger does"
    ),
    it.TooFewAgree: "no verdict ({version}): too few servers agree",
    it.NotAsked: _not_asked,
    it.NonceReset: "no verdict (v2): the answer to the nonce is reset",
}
