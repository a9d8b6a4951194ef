"""What a NAT does with one packet: translates it out or in, or drops it."""

from dataclasses import dataclass

from testbed.model.trace import Answer, Drop, Note, Place


@dataclass(frozen=True, slots=True)
class Dropped:
    """The packet goes no further.  ``taken``: the router's own INPUT accepted it."""

    why: Drop
    answer: Answer = Answer.SILENCE
    taken: bool = False


@dataclass(frozen=True, slots=True)
class Leaves:
    """An outgoing packet, translated; ``note`` when its port is not the first one seen."""

    external: Place
    remote: Place
    note: Note | None


@dataclass(frozen=True, slots=True)
class Enters:
    """An incoming packet, translated; ``remote`` is the source that the inside sees."""

    internal: Place
    remote: Place
    note: Note | None
