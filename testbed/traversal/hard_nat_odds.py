"""How often the strategies of `hard_nat` get through, in theory."""

import math
from itertools import accumulate


def birthday_odds(ports: int, mapped: int, probes: int) -> float:
    """The chance that one of ``probes`` hits, with ``mapped`` of ``ports`` ports in use for us.

    The M probes are distinct, and every set of M of the R ports is equally likely.  C(R, M)
    sets there are; C(R - N, M) of them miss all of the N ports, which are distinct as a NAT
    gives none twice.  So P = 1 - C(R-N, M) / C(R, M), the hypergeometric law's P(X > 0),
    about 1 - exp(-NM/R).  How the NAT chooses its N ports does not matter: the probes are
    random.  The use of it is D. Anderson's in "How NAT traversal works" (Tailscale, 2020),
    which has N = 256: half for 174 probes, 98 % for 1024.  Those figures are for R = 64512,
    the ports from 1024 to 65535, which is what NATs allocate from and what our labs have.
    """
    return 1 - math.comb(ports - mapped, probes) / math.comb(ports, probes)


def granted(sockets: int, quota: int | None, in_use: int = 0) -> int:
    """How many of ``sockets`` get a mapping from a NAT that allows a subscriber ``quota``."""
    return sockets if quota is None else min(sockets, max(0, quota - in_use))


def prediction_odds(mu: float, candidates: int) -> float:
    """The chance that the port is among ``candidates``.

    k mappings of others between the last STUN answer and our own put our port k steps
    behind the first candidate: a hit for k < candidates.  With k Poisson of mean ``mu``,
    the arrivals of many independent hosts, P = sum of e^-mu mu^k / k! for k < candidates.
    The step is taken to be known: others between the two STUN answers spoil it.
    """
    terms = accumulate(range(1, candidates), lambda term, k: term * mu / k, initial=math.exp(-mu))
    return min(1.0, sum(terms))
