"""Which of the peers' steps led to the upgrade: some attempt on, though nobody needs it."""

from collections.abc import Sequence
from typing import TypeVar

from testbed.model.contract import Event, Step, Upgraded
from testbed.model.outcome import StepName

E = TypeVar("E", bound=Event)


def last(events: Sequence[Event], kind: type[E]) -> E | None:
    """The last of one peer's ``events`` that is of this kind."""
    return next((e for e in reversed(events) if isinstance(e, kind)), None)


def leading_step(events: Sequence[Event], name: StepName) -> Step | None:
    """The last step of this name before the upgrade; of all, if none is or nothing was upgraded."""
    steps = [e for e in events if isinstance(e, Step) and e.name is name]
    upgraded = last(events, Upgraded)
    led = [e for e in steps if upgraded is None or e.at <= upgraded.at]
    return (led or steps)[-1] if steps else None
