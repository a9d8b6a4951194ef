"""A population: which NATs peers are behind, and how many of them behind each."""

import tomllib
from random import Random
from typing import Annotated

from pydantic import Field, ValidationError, model_validator

from testbed import foreign
from testbed.errors import UsageError
from testbed.model.table import Table, wrong

_ROUNDING = 1e-6

Share = Annotated[float, Field(gt=0, le=1)]
Words = Annotated[str, Field(min_length=1)]


class Population(Table):
    """One file of ``testbed/populations/``, or of the user's own.

    ``name`` is the file's; ``source`` is a citation, or "none" and why.  ``shares``: profile ->
    which part of the peers is behind such a NAT.
    """

    name: str
    title: Words
    source: Words
    shares: dict[str, Share]

    @model_validator(mode="after")
    def _whole(self) -> "Population":
        total = sum(self.shares.values())
        if abs(total - 1) > _ROUNDING:
            raise wrong(f"the shares add up to {total:g}, not to 1", "shares")
        return self

    def drawn(self, peers: int, seed: object) -> tuple[str, ...]:
        """The profiles of so many peers; those of a smaller swarm of equal seed come first."""
        rng = Random(f"{seed}/{self.name}")
        names, weights = list(self.shares), list(self.shares.values())
        return tuple(rng.choices(names, weights)[0] for _ in range(peers))


def parse(text: str, name: str, shown: str) -> Population:
    """The population in a file; UsageError says what is wrong with ``shown``."""
    try:
        return Population(name=name, **tomllib.loads(text))
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise UsageError(f"{shown}: {error}") from None
    except ValidationError as error:
        raise UsageError(f"{shown}: {foreign.complaint(error)}") from None
