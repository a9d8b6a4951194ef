"""In which order several addresses are dialed (Happy Eyeballs version 2, RFC 8305 section 4)."""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, zip_longest

from .multiaddr import Multiaddr


def interleaved(
    addresses: Iterable[Multiaddr], usable: Callable[[Multiaddr], bool] = lambda _: True
) -> tuple[Multiaddr, ...]:
    """IPv6 and IPv4 by turns, IPv6 first, each in its given order; circuits stay behind.

    What cannot be reached from here (RFC 6724 section 5, rule 1) comes last, `usable` says which.
    """
    kinds: dict[tuple[bool, int | None], list[Multiaddr]] = {}
    circuits = []
    for address in dict.fromkeys(addresses):
        if address.is_relayed:
            circuits.append(address)
        else:
            version = address.ip.version if address.ip else None
            kinds.setdefault((usable(address), version), []).append(address)
    found: list[Multiaddr] = []
    for fit in (True, False):
        found += _by_turns(kinds.get((fit, 6), ()), kinds.get((fit, 4), ()))
        found += kinds.get((fit, None), ())
    return (*found, *circuits)


def _by_turns(one: Sequence[Multiaddr], other: Sequence[Multiaddr]) -> list[Multiaddr]:
    return [address for address in chain(*zip_longest(one, other)) if address is not None]
