"""What ICE agents do differently, as data: RFC 8445 leaves them the choice, or they took it.

The manifest of an ICE stack has the figures of its agent (``images/NAME/stack.toml``), each of
which was read in the stack's own source, and seen in captures of it.
"""

from enum import StrEnum

from testbed.model.frozen import FrozenValue


class Nomination(StrEnum):
    """How the controlling agent comes to a pair."""

    FIRST = "first"  # every check nominates: the first pair that answers is it
    BEST_OF_TWO = "best_of_two"  # the best, when two answered or no check is under way
    BEST = "best"  # the best so far; a relayed one only after `IceAgent.relays_accepted`


class IceAgent(FrozenValue):
    """One implementation.  All times are in seconds.

    ``checks`` are the times at which a pair is checked, from its first check on;
    ``gives_up`` is when it counts as failed.  Section 7.3.1.4 wants that a request of
    the other side triggers a check of a pair that failed or is in progress:
    ``rechecks_failed`` and ``rechecks_in_progress`` say whether it does, the first
    for the controlling agent, the second for the controlled one.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012, pydantic reads it

    checks: tuple[float, ...]
    gives_up: float
    pace: float  # between the first checks of two pairs
    nomination: Nomination
    gathers: float = 3.0  # what has not come by then is no candidate
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
    every_interface: bool = False  # it gathers from each of its host's, if it is told of them
    assumed: bool = False  # of a stack that nobody has read: its times are held to nothing


# An agent of which nothing is known is taken for one like aioice, which a manifest describes.
UNREAD = IceAgent(
    checks=(0.0, 0.5, 1.5, 3.5),
    gives_up=7.5,
    pace=0.02,
    nomination=Nomination.FIRST,
    gathers=2.0,
    begins=0.002,
    relays_wait=1.0,
    rechecks_in_progress=(False, False),
    assumed=True,
)
