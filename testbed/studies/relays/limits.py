"""What the limits of relays do to the pairs of a swarm."""

from testbed.model.distance import round_trip_s
from testbed.model.outcome import Outcome
from testbed.studies.relays.swarm import TRIPS, Pair, Swarm

# Bytes on a circuit besides those of echoes: Noise and Yamux, identify, DCUtR; and of each echo.
NEGOTIATED, FRAMED = 8_192, 1.1
PASSES = 4  # there and back, and each time into the relay and out of it
WINDOW = 256 * 1024  # bytes that an end sends and the relay has not passed on, at most
ENOUGH = 60  # seconds in which a swarm has met and worked
UPGRADING = 10  # seconds in which a pair is direct, if it ever is


def refused(swarm: Swarm, pair: Pair) -> bool:
    """Whether its relay may have as many circuits as it may when the pair comes."""
    return pair.turn >= swarm.limits.circuits


def ends(swarm: Swarm, pair: Pair, told: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
    """How a pair may end that ends as ``told`` where there are no limits, the likeliest first."""
    if refused(swarm, pair) and not swarm.upgrades:
        return (Outcome.NONE,)
    hasty = outlived(swarm) is not False and (Outcome.RELAYED in told or _before_upgrades(swarm))
    if refused(swarm, pair) or hasty:
        return tuple(dict.fromkeys((*told, Outcome.NONE)))
    return told


def _before_upgrades(swarm: Swarm) -> bool:
    return 0 < swarm.limits.duration < UPGRADING


def outlived(swarm: Swarm) -> bool | None:
    """Whether a circuit is needed for longer than it may last; None: perhaps."""
    if not swarm.limits.duration or swarm.limits.duration >= ENOUGH:
        return False
    pair = swarm.pairs[0]
    ways = (round_trip_s(swarm.topology, end, pair.relay) for end in (pair.dialer, pair.listener))
    least = sum(ways) * (TRIPS + len(swarm.echoes))
    return True if swarm.limits.duration < least else None


def filled(swarm: Swarm) -> bool | None:
    """Whether a pair's work is more than a circuit may carry; None: perhaps."""
    if not swarm.limits.data or swarm.payload * FRAMED + NEGOTIATED <= swarm.limits.data:
        return False
    return True if swarm.payload > swarm.limits.data else None


def finishes(swarm: Swarm, measured: Outcome) -> bool | None:
    """Whether a pair that goes this way gets its work done; None: perhaps."""
    if measured is not Outcome.RELAYED:
        return measured is Outcome.DIRECT
    ended = filled(swarm), outlived(swarm)
    if True in ended:
        return False
    return None if None in ended else True


def carried(swarm: Swarm) -> tuple[int, int]:
    """Bytes of echoes at the relay of a pair that stays, both ways, in and out; least and most."""
    passes = PASSES * swarm.payload
    if outlived(swarm) is not False or filled(swarm) is None:
        return 0, passes
    if not filled(swarm):
        return passes, passes
    # The way there is filled first; what its sender had sent already goes no further.
    data = swarm.limits.data
    return PASSES // 2 * data, PASSES * data + min(swarm.payload - data, WINDOW)
