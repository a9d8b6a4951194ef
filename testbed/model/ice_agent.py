"""What ICE agents do differently, as data: RFC 8445 leaves them the choice, or they took it.

Each figure was read in the stack's own source, and seen in captures of it.
"""

from dataclasses import dataclass
from enum import Enum, auto


class Nomination(Enum):
    """How the controlling agent comes to a pair."""

    FIRST = auto()  # every check nominates: the first pair that answers is it
    BEST_OF_TWO = auto()  # the best, when two answered or no check is under way
    BEST = auto()  # the best so far; a relayed one only after `IceAgent.relays_accepted`


@dataclass(frozen=True)
class IceAgent:
    """One implementation.  All times are in seconds.

    ``checks`` are the times at which a pair is checked, from its first check on;
    ``gives_up`` is when it counts as failed.  Section 7.3.1.4 wants that a request of
    the other side triggers a check of a pair that failed or is in progress:
    ``rechecks_failed`` and ``rechecks_in_progress`` say whether it does, the first
    for the controlling agent, the second for the controlled one.
    """

    checks: tuple[float, ...]
    gives_up: float
    pace: float  # between the first checks of two pairs
    nomination: Nomination
    begins: float = 0.0  # from the start to its first check
    tick: float = 0.02  # how often the controlling agent looks for a pair to nominate
    relays_wait: float = 0.0  # before a relayed pair is checked at all
    relays_accepted: float = 0.0  # before a relayed pair is nominated, where others could be
    reflexive_socket: bool = False  # the server-reflexive candidate has a socket of its own
    by_priority: bool = True  # direct pairs are begun with before relayed ones
    pairs_with_all: bool = False  # a peer-reflexive candidate, not only with where it was seen
    awaits_permissions: bool = False  # of its relay, before it begins with another pair
    heeds_early: bool = True  # what came in before the other side's offer is answered
    rechecks_failed: tuple[bool, bool] = (True, True)
    rechecks_in_progress: tuple[bool, bool] = (True, True)
    assumed: bool = False  # of a stack that nobody has read: its times are held to nothing


AIOICE = IceAgent(  # with `testbed.stacks.ice`'s head start for direct pairs
    checks=(0.0, 0.5, 1.5, 3.5),
    gives_up=7.5,
    pace=0.02,
    nomination=Nomination.FIRST,
    begins=0.002,
    relays_wait=1.0,
    rechecks_in_progress=(False, False),
)
LIBNICE = IceAgent(
    checks=(0.0, 0.5, 1.5),
    gives_up=2.0,
    pace=0.02,
    nomination=Nomination.BEST_OF_TWO,
    begins=0.02,
)
PION = IceAgent(
    checks=tuple(count * 0.2 for count in range(8)),
    gives_up=1.6,
    pace=0.0,
    nomination=Nomination.BEST,
    tick=0.2,
    relays_accepted=2.0,
    reflexive_socket=True,
    by_priority=False,
    pairs_with_all=True,
    awaits_permissions=True,
    heeds_early=False,
    rechecks_failed=(False, True),
    rechecks_in_progress=(False, True),
)
