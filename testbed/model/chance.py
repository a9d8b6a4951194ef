"""What a handful of repetitions can tell, and what may as well be chance.

All bounds are two-sided 95 % unless told otherwise.
"""

from collections.abc import Sequence
from math import comb, erfc, exp, lgamma, sqrt

Z = 1.959963984540054  # the standard normal's 97.5 % point
ALPHA = 0.05
EXACT = 2500  # products of sample sizes up to which ranks are counted, not approximated


def wilson(hits: int, total: int, z: float = Z) -> tuple[float, float]:
    """Bounds of the rate behind ``hits`` of ``total`` > 0, ``z`` standard deviations wide.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22 (1927), 209-212: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n).  Unlike
    p ± z √(p(1-p)/n) it holds for few repetitions and for rates of 0 and 1.
    """
    rate, square = hits / total, z * z / total
    middle = rate + square / 2
    half = z * sqrt(rate * (1 - rate) / total + square / (4 * total))
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))


def foreseen(hits: int, total: int, tries: int, doubt: float) -> tuple[int, int]:
    """Least and most hits of further ``tries``, where ``total`` ones had ``hits``.

    Below and above lie at most half of ``doubt`` each.  The rate behind ``hits`` is known by
    these alone: Jeffreys' prior makes it Beta(hits + 1/2, total - hits + 1/2), and what comes
    beta-binomial (G. J. Hahn and W. Q. Meeker, "Statistical Intervals", Wiley 1991, section 6.7,
    on such intervals), so that the bounds have both samples' errors in them.
    """
    a, b = hits + 0.5, total - hits + 0.5

    def log_beta(x: float, y: float) -> float:
        return lgamma(x) + lgamma(y) - lgamma(x + y)

    def log_choose(k: int) -> float:
        return lgamma(tries + 1) - lgamma(k + 1) - lgamma(tries - k + 1)

    chances = [
        exp(log_choose(k) + log_beta(k + a, tries - k + b) - log_beta(a, b))
        for k in range(tries + 1)
    ]
    return _least(chances, doubt / 2), tries - _least(chances[::-1], doubt / 2)


def binomial(tries: int, rate: float, doubt: float) -> tuple[int, int]:
    """Least and most hits of ``tries`` of a known ``rate``.

    Below and above lie at most half of ``doubt`` each.
    """
    chances = [comb(tries, k) * rate**k * (1 - rate) ** (tries - k) for k in range(tries + 1)]
    return _least(chances, doubt / 2), tries - _least(chances[::-1], doubt / 2)


def _least(chances: Sequence[float], tail: float) -> int:
    """The first place up to which more than ``tail`` has come together."""
    summed = 0.0
    for place, chance in enumerate(chances):
        summed += chance
        if summed > tail:
            return place
    return len(chances) - 1


def difference(old: tuple[int, int], new: tuple[int, int]) -> tuple[float, float]:
    """Bounds of the new rate less the old one, each as (hits, total).

    R. G. Newcombe, "Interval estimation for the difference between independent proportions",
    Statistics in Medicine 17 (1998), 873-890, method 10, from Wilson's bounds l and u of both:
    d - √((p₁-l₁)² + (u₂-p₂)²) to d + √((u₁-p₁)² + (p₂-l₂)²).
    """
    before, after = old[0] / old[1], new[0] / new[1]
    (old_low, old_high), (new_low, new_high) = wilson(*old), wilson(*new)
    apart = after - before
    return (
        apart - sqrt((after - new_low) ** 2 + (old_high - before) ** 2),
        apart + sqrt((new_high - after) ** 2 + (before - old_low) ** 2),
    )


def shift(old: tuple[int, int], new: tuple[int, int]) -> int:
    """Did the rate rise (1), fall (-1), or may it be the same (0)?  Each as (hits, total).

    A lab is meant to give the same every time.  So where both sides are of one mind, one
    repetition is enough to tell them apart; where one is not, it takes an interval of
    `difference` that excludes 0.
    """
    if old[0] in (0, old[1]) and new[0] in (0, new[1]):
        return bool(new[0]) - bool(old[0])
    low, high = difference(old, new)
    return (low > 0) - (high < 0)


def rank_test(old: Sequence[float], new: Sequence[float]) -> float:
    """How likely ranks so far apart are, two-sided, if both came from one distribution.

    H. B. Mann and D. R. Whitney, Annals of Mathematical Statistics 18 (1947), 50-60.  Ties
    count against a difference.  Exact for small samples, else by the normal approximation.
    """
    above = sum(y > x for x in old for y in new)
    below = sum(y < x for x in old for y in new)
    pairs = len(old) * len(new)
    against = pairs - max(above, below)
    if pairs > EXACT:
        deviation = sqrt(pairs * (len(old) + len(new) + 1) / 12)
        return min(1.0, erfc((pairs / 2 - against) / deviation / sqrt(2)))
    ways = _arrangements(len(old), len(new))
    return min(1.0, 2 * sum(ways[: against + 1]) / sum(ways))


def _arrangements(one: int, other: int) -> list[int]:
    """In how many orders u pairs are inverted, for u = 0 to one·other: a Gaussian binomial."""
    ways = [1] + [0] * (one * other)
    for k in range(1, other + 1):
        for u in range(len(ways) - 1, one + k - 1, -1):  # times 1 - q^(one+k)
            ways[u] -= ways[u - one - k]
        for u in range(k, len(ways)):  # divided by 1 - q^k
            ways[u] += ways[u - k]
    return ways


def sign_test(up: int, down: int) -> float:
    """How likely so uneven a split is, two-sided, if up and down are equally likely."""
    total, fewer = up + down, min(up, down)
    tail = sum(comb(total, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << total))
