"""Sentences about the lives of paths."""

from typing import assert_never

from testbed.model.life import (
    After,
    Ended,
    FileExpects,
    LifeReason,
    NobodyAt,
    NoConnection,
    NotKnown,
    PathEnd,
    Shut,
    SocketStuck,
    StillOpen,
    Undisturbed,
)
from testbed.words.packets import drop, starred

_AFTER = {
    After.NOTHING: "",
    After.UNNOTICED: ", and no keepalive notices",
    After.UPGRADED: "; a new upgrade gets through",
    After.RELAYED: "; no upgrade gets through",
}


def sentence(reason: LifeReason) -> str:
    """Why it goes so."""
    return starred(_sentence(reason), reason)


def _sentence(reason: LifeReason) -> str:
    match reason:
        case Undisturbed():
            return "nothing stands in the way"
        case StillOpen():
            return "both NATs still let both ways through"
        case Ended(end, after):
            return f"{_end(end) if end else ''}{_AFTER[after]}"
        case FileExpects(None, _):
            return "the world's file expects it; the model cannot tell"
        case FileExpects(model, inner):
            why = f": {_sentence(inner)}" if inner else ""
            return f"the world's file expects it; the model says {model}{why}"
    assert_never(reason)


def _end(end: PathEnd) -> str:
    match end:
        case NoConnection(source):
            return f"the listener knows no connection with {source}"
        case NotKnown(source):
            return f"the dialer hears {source}, which it does not know"
        case SocketStuck():
            return "the dialer's socket has an address that it has no longer"
        case NobodyAt(target):
            return f"nobody is at {target} any more"
        case Shut(router):
            return f"nothing passes {router}"
        case _:
            return drop(end)
