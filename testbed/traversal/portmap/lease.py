"""When to renew what the gateway granted (RFC 6887 section 11.2.1, RFC 6886 section 3.3)."""

import random
from collections.abc import Iterator

LONGEST = 24 * 3600.0  # seconds; longer grants are renewed as if they were this (section 15)
LEAST_GAP = 4.0  # seconds between two tries


def renewals(lifetime: float, rng: random.Random) -> Iterator[float]:
    """Seconds after the grant: 1/2 to 5/8 of the lifetime, 3/4 to 13/16, 7/8 to 29/32, ...

    The last is before the end and at least four seconds after the one before.
    """
    lifetime = min(lifetime, LONGEST)
    earliest, left = 0.0, 0.5
    while (start := lifetime * (1 - left)) < lifetime:
        at = max(start + rng.uniform(0, lifetime * left / 4), earliest)
        if at >= lifetime:
            return
        yield at
        earliest, left = at + LEAST_GAP, left / 2
