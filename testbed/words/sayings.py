"""Sentences about what peers said of their connections."""

from typing import assert_never

from testbed.model import saying as it


def sentence(saying: it.Saying) -> str:
    """What it said last."""
    match saying:
        case it.SaidConnected(local, remote, how):
            return f"{how or 'connected'} {local} to {remote}"
        case it.SaidFailed(failure, reason):
            return f"{failure}: {reason}"
        case it.SaidNothing():
            return "it said nothing of a connection"
        case it.EndedWell(ms):
            return f"ended with 0, handshake {ms:g} ms"
        case it.EndedBadly(code, stderr, deserters):
            words = ["did not end in time" if code is None else f"ended with {code}", stderr]
            for one in deserters:
                words += [f"the {one.part}, {one.node}, had ended with {one.code}", one.stderr]
            return "\n".join(filter(None, words))
    assert_never(saying)
