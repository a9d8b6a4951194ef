"""The table ``regions`` of a world: the round trips between the internet's regions."""

from collections.abc import Mapping
from itertools import combinations
from typing import Annotated

from pydantic import Field

from testbed.model.regions import Regions
from testbed.model.table import wrong

# The core of a region is called after it, and so is an interface, which has 15 letters at most.
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,9}$")]
RoundTrip = Annotated[float, Field(ge=0, le=60_000, allow_inf_nan=False)]
RoundTrips = dict[Name, dict[Name, RoundTrip]]


def regions_of(table: Mapping[str, Mapping[str, float]]) -> Regions:
    """The regions, of a table that `require_whole` has passed."""
    return Regions(
        tuple(
            (one, other, rtt_ms)
            for one, others in table.items()
            for other, rtt_ms in others.items()
        )
    )


def require_whole(table: Mapping[str, Mapping[str, float]]) -> None:
    """The error at the line of a pair that is said twice, or at a table that lacks one."""
    regions = regions_of(table)
    said: set[frozenset[str]] = set()
    for one, other, _ in regions.pairs:
        if one == other:
            raise wrong("within a region nothing is added", "regions", one, other)
        if frozenset((one, other)) in said:
            raise wrong("their round trip is said already", "regions", one, other)
        said.add(frozenset((one, other)))
    for pair in combinations(regions.names, 2):
        if frozenset(pair) not in said:
            raise wrong(f"the round trip {'.'.join(pair)} = ... is missing", "regions")
