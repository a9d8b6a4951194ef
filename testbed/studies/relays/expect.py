"""What is foreseen of a swarm: of each pair by the oracle, of all by the population besides.

A pair's prediction is that of its world, whose homes, links and public nodes a swarm's are.
How many pairs go direct is binomial: each pair's two NATs are drawn independently.
"""

from dataclasses import replace
from functools import lru_cache
from itertools import product

from testbed.model.chance import binomial
from testbed.model.details import Foreseen
from testbed.model.outcome import Outcome
from testbed.model.prediction import Prediction
from testbed.nat.load import by_name
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import prediction
from testbed.studies.relays.limits import carried, ends, outlived, refused
from testbed.studies.relays.places import WORLD
from testbed.studies.relays.swarm import Pair, Swarm

DOUBT = 0.01  # the chance that any swarm of an experiment is outside although all holds
_RELAY_ONLY = "relay_only"  # the mode in which nobody upgrades
# Bytes of frames at the relay for a pair, besides its echo: two connections and what identifies
# their ends, a reservation, a circuit with a connection in it, and three attempts at an upgrade.
# On QUIC each of the three handshakes has datagrams of 1200 bytes and more, both ways.
SETUP = {"tcp": (8_000, 60_000), "udp": (16_000, 120_000)}
# Frames of an echo, in bytes of it: headers and tags are 66 of 1448 or 90 of 1200 bytes at least,
# and each packet may be acknowledged by one of its own.
OVERHEAD = 1.30


def possible(
    pair: tuple[str, str], stack: str, *, upgrades: bool, world: str = WORLD
) -> tuple[Outcome, ...]:
    """How a pair behind these two NATs may end, the likeliest first."""
    told = _prediction(pair, stack, upgrades, world)
    ends = {told.outcome: None} | dict.fromkeys(told.race)
    if told.chances is not None:
        ends |= dict.fromkeys(one for one in Outcome if told.chances.count(one))
    return tuple(ends)


def ends_of(swarm: Swarm, pair: Pair) -> tuple[Outcome, ...]:
    """How a pair may end in its swarm, the likeliest first."""
    told = possible(pair.nats, swarm.stack, upgrades=swarm.upgrades, world=swarm.world)
    return ends(swarm, pair, told)


def foreseen(swarm: Swarm) -> Foreseen:
    """What lies outside comes of chance in `DOUBT` of all experiments, three bounds a case."""
    doubt = DOUBT / swarm.of / 3
    pairs = len(swarm.pairs)
    direct, relayed, none = (
        _rate(swarm, one) for one in (Outcome.DIRECT, Outcome.RELAYED, Outcome.NONE)
    )
    # All but these may find no circuit, or lose it before anything comes of it.
    sure = 0 if outlived(swarm) is not False else sum(not refused(swarm, p) for p in swarm.pairs)
    stay = _count(sure, relayed, doubt)[0], _count(pairs, relayed, doubt)[1]
    met = sure - _count(sure, none, doubt)[1]
    least, most = SETUP[swarm.stacks.transport]
    each = carried(swarm)
    low = stay[0] * each[0] + met * least
    high = stay[1] * each[1] * OVERHEAD + pairs * most
    went = _count(sure, direct, doubt)[0], _count(pairs, direct, doubt)[1]
    return Foreseen(rate=direct, direct=went, relay_bytes=(low, round(high)))


def _count(pairs: int, rate: tuple[float, float], doubt: float) -> tuple[int, int]:
    low, high = rate
    return binomial(pairs, low, doubt)[0], binomial(pairs, high, doubt)[1]


def _rate(swarm: Swarm, outcome: Outcome) -> tuple[float, float]:
    """The chance that two of its population end so, least and most."""
    low = high = 0.0
    for (one, share), (other, share_too) in product(swarm.population.shares.items(), repeat=2):
        sure, may = _chance((one, other), swarm, outcome)
        low, high = low + share * share_too * sure, high + share * share_too * may
    return min(low, 1.0), min(high, 1.0)


def _chance(pair: tuple[str, str], swarm: Swarm, outcome: Outcome) -> tuple[float, float]:
    told = _prediction(pair, swarm.stack, swarm.upgrades, swarm.world)
    may = possible(pair, swarm.stack, upgrades=swarm.upgrades, world=swarm.world)
    if may == (outcome,):
        return 1.0, 1.0
    if outcome not in may:
        return 0.0, 0.0
    if told.chances is None or told.chances.borrowed or told.race:
        return 0.0, 1.0
    rate = told.chances.rate(outcome)
    return rate, rate


@lru_cache(maxsize=4096)
def _prediction(pair: tuple[str, str], stack: str, upgrades: bool, world: str) -> Prediction:
    cell = Cell(stack, pair, world)
    if not upgrades:
        cell = replace(cell, mode=_RELAY_ONLY)
    return prediction(cell, by_name((), pair))
