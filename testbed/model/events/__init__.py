"""The tables of a world's file that say what happens in the course of time, and to what stacks.

Times are seconds after the peers have been connected directly and steadily.
"""

from testbed.model.events.base import Attached, EventTable, Names
from testbed.model.events.kinds import KINDS, Changed, Event, known_keys
from testbed.model.events.life import LifeTable
from testbed.model.events.timeline import Wires, timeline

__all__ = [
    "KINDS",
    "Attached",
    "Changed",
    "Event",
    "EventTable",
    "LifeTable",
    "Names",
    "Wires",
    "known_keys",
    "timeline",
]
