"""Links as tables of files, and ``testbed/links.toml``, the catalogue of those that users meet."""

import tomllib
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from testbed.errors import TopologyError, UsageError
from testbed.model.table import Table, wrong
from testbed.model.topology import SMALLEST_MTU, Impairment, Link
from testbed.naming import instead
from testbed.places import PACKAGE

FILE = PACKAGE / "links.toml"

Milliseconds = Annotated[float, Field(ge=0, le=60_000, allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=100_000)]


class WayTable(Table):
    """What a link does to frames in one direction.  A key that is left out does nothing."""

    delay_ms: Milliseconds | None = Field(default=None, description="Each frame is held so long.")
    jitter_ms: Milliseconds | None = Field(
        default=None,
        description="The delay varies uniformly by so much to both sides; order is kept.",
    )
    loss: Probability | None = Field(
        default=None, description="The share of frames that is lost, 0 to 1."
    )
    rate_mbit: Rate | None = Field(default=None, description="The line's rate in Mbit/s.")
    burst: Annotated[float, Field(ge=1, le=1000)] | None = Field(
        default=None,
        description="Frames are lost in bursts of so many on average (Gilbert's model).",
    )
    reorder: Probability | None = Field(
        default=None, description="The share of frames that are not delayed, and so overtake."
    )
    duplicate: Probability | None = Field(
        default=None, description="The share of frames that come twice."
    )
    queue_ms: Annotated[float, Field(gt=0, le=60_000)] | None = Field(
        default=None, description="What may wait for the line; more is dropped. 200, if left out."
    )
    largest: Annotated[int, Field(ge=SMALLEST_MTU, le=1500)] | None = Field(
        default=None,
        description="Bytes of an IP packet. A longer one vanishes, and nobody is told: a black "
        "hole. See `mtu` for a link that says so.",
    )


def _impairment(*tables: WayTable | None) -> Impairment:
    """Of each key, what the first of ``tables`` says that has it."""
    said: dict[str, Any] = {}
    for table in reversed([one for one in tables if one is not None]):
        values = ((name, getattr(table, name)) for name in WayTable.model_fields)
        said |= {name: value for name, value in values if value is not None}
    return Impairment(**said)


class LinkTable(WayTable):
    """A link: its own keys hold for both directions, ``up`` and ``down`` for one."""

    up: WayTable | None = Field(
        default=None, description="From the node; its keys win over the common."
    )
    down: WayTable | None = Field(default=None, description="Towards the node; as `up`.")
    mtu: Annotated[int, Field(ge=SMALLEST_MTU, le=1500)] | None = Field(
        default=None,
        description="Bytes of an IP packet. Who sends a longer one is told so by ICMP.",
    )

    like: str | None = Field(
        default=None,
        description="A name of `testbed world links`: what holds where this table says nothing.",
    )

    def link(self) -> Link:
        """The link of the model."""
        base = CATALOGUE[self.like] if self.like is not None else None
        up, down = (base.up, base.down) if base is not None else (None, None)
        return Link(
            _impairment(self.up, self, up, base), _impairment(self.down, self, down, base), self.mtu
        )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.like is not None and self.like not in CATALOGUE:
            said = f"no link of the catalogue is called {self.like!r}"
            raise wrong(f"{said}; {instead(self.like, CATALOGUE)}", "like")
        try:
            self.link()
        except TopologyError as error:
            raise wrong(error.message) from None
        return self


class Condition(LinkTable):
    """A link of the catalogue."""

    title: Annotated[str, Field(pattern=r"\S", description="A sentence for people.")]
    source: Annotated[str, Field(pattern=r"\S", description="Who says so, and what is our own.")]


CATALOGUE: dict[str, Condition] = {}
with FILE.open("rb") as _file:
    CATALOGUE |= {name: Condition(**table) for name, table in tomllib.load(_file).items()}


@cache
def catalogued() -> Mapping[str, Link]:
    """All links of the catalogue: each world has them, and many are read in one run."""
    return MappingProxyType({name: one.link() for name, one in CATALOGUE.items()})


def named(name: str) -> Link:
    """The link of the catalogue that is called so; UsageError if there is none."""
    if name not in CATALOGUE:
        raise UsageError(f"unknown link {name!r}", remedy=instead(name, CATALOGUE))
    return catalogued()[name]
