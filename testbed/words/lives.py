"""Sentences about the lives of paths."""

from typing import assert_never

from testbed.model import life as it
from testbed.words.packets import drop, starred

_AFTER = {
    it.After.NOTHING: "",
    it.After.UNNOTICED: ", and no keepalive notices",
    it.After.UPGRADED: "; a new upgrade gets through",
    it.After.RELAYED: "; no upgrade gets through",
}


def sentence(reason: it.LifeReason) -> str:
    """Why it goes so."""
    return starred(_sentence(reason), reason)


def _sentence(reason: it.LifeReason) -> str:
    match reason:
        case it.Undisturbed():
            return "nothing stands in the way"
        case it.StillOpen():
            return "both NATs still let both ways through"
        case it.Ended(end, after):
            return f"{_end(end) if end else ''}{_AFTER[after]}"
        case it.FileExpects(None, _):
            return "the world's file expects it; the model cannot tell"
        case it.FileExpects(model, inner):
            why = f": {_sentence(inner)}" if inner else ""
            return f"the world's file expects it; the model says {model}{why}"
    assert_never(reason)


def _end(end: it.PathEnd) -> str:
    match end:
        case it.NoConnection(source):
            return f"the listener knows no connection with {source}"
        case it.NotKnown(source):
            return f"the dialer hears {source}, which it does not know"
        case it.SocketStuck():
            return "the dialer's socket has an address that it has no longer"
        case it.NobodyAt(target):
            return f"nobody is at {target} any more"
        case it.Shut(router):
            return f"nothing passes {router}"
        case _:
            return drop(end)
