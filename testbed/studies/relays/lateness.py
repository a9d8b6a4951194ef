"""How late the two of a pair punched, by the steps that they tell.

A swarm has far more programs than its machine has processors.  The leader dials half a round trip
after it has sent SYNC, and the other side when SYNC comes; who dials later than the other side's
SYN takes to come meets it at its listening socket, and the pair may stay relayed.
"""

from collections.abc import Sequence

from testbed.model.contract import Event, Step
from testbed.model.outcome import StepName

_ASKED = (StepName.CONNECT_SENT, StepName.CONNECT_RECEIVED, StepName.SYNC_SENT)


def late_ms(events: Sequence[Event]) -> float:
    """Of one peer in its worst attempt; 0 where it tells of none."""
    steps = [one for one in events if isinstance(one, Step)]
    attempts = dict.fromkeys(step.attempt for step in steps)
    return max((_late_ns(steps, attempt) / 1e6 for attempt in attempts), default=0.0)


def _late_ns(steps: Sequence[Step], attempt: int) -> float:
    at = {step.name: step.realtime for step in steps if step.attempt == attempt}
    punched = at.get(StepName.PUNCHING)
    if punched is None:
        return 0.0
    if all(name in at for name in _ASKED):
        sent, came, synced = (at[name] for name in _ASKED)
        return max(0.0, punched - synced - (came - sent) / 2)
    return max(0.0, punched - at.get(StepName.SYNC_RECEIVED, punched))
