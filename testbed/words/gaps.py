"""Sentences about evidence that was not recorded."""

from typing import assert_never

from testbed.model.gap import Gap, NoCounters, NoEvents, Unheard


def sentence(gap: Gap) -> str:
    """What was not recorded, and why."""
    match gap:
        case NoEvents(node, Unheard.SILENT, count):
            return f"{node} holds {count} flows and sent no event of any"
        case NoEvents(node, why, count, error):
            return f"conntrack events of {node} {_why(why, count, error)}"
        case NoCounters(error):
            return f"the routers' counters: {error}"
    assert_never(gap)


def _why(why: Unheard, count: int, error: str) -> str:
    if why is Unheard.REFUSED:
        return f"could not be heard: {error}"
    if why is Unheard.TOO_MANY:
        return f"were more than {count}"
    return "came faster than they were taken"
