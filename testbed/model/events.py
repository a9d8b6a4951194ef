"""The tables of a world's file that say what happens in the course of time, and to what stacks.

Times are seconds after the peers have been connected directly and steadily.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from testbed.model.life import Timers
from testbed.model.network_fault import (
    Fault,
    LinkDown,
    LinkUp,
    MappingTimeout,
    NatReboot,
    Rebinding,
    Roaming,
    WanAddressChange,
)
from testbed.model.table import Table, wrong
from testbed.naming import instead

Moment = Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)]
Span = Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)]
Kind = Literal["router", "host", "node"]
_NODE = "The node's name, as `routers` or `hosts` has it."


@dataclass(frozen=True)
class Names:
    """What there is in a world."""

    routers: Sequence[str]
    hosts: Sequence[str]
    networks: Sequence[str]

    def of(self, kind: Kind) -> Sequence[str]:
        """The names of one kind of node."""
        known = {"router": self.routers, "host": self.hosts}
        return known.get(kind, (*self.routers, *self.hosts))


class EventTable(Table):
    """What all events have.  ``NODE`` is what `node` has to be, of events that have one."""

    NODE: ClassVar[Kind] = "node"

    at_s: Moment | None = Field(
        default=None, description="Seconds after the direct path has become steady."
    )
    past_patience_s: Moment | None = Field(
        default=None,
        description="In place of `at_s`: so long after stacks that hear nothing give up.",
    )

    def at(self, timers: Timers) -> float:
        """When it happens to stacks with these ``timers``, in seconds."""
        if self.at_s is not None:
            return self.at_s
        assert self.past_patience_s is not None  # `_timed` lets no other pass
        return timers.patience + self.past_patience_s

    def faults(self, timers: Timers) -> Iterator[tuple[float, Fault]]:
        """What is done to the network, and when."""
        raise NotImplementedError

    def require_known(self, names: Names, number: int) -> None:
        """An error for a node that the event, the ``number``-th of its world, cannot befall."""
        said = getattr(self, "node", None)
        known = names.of(self.NODE)
        if said is not None and said not in known:
            there = instead(said, known) if known else f"there is no {self.NODE}"
            raise _wrong(f"no {self.NODE} is called {said!r}; {there}", number, "node")

    @model_validator(mode="after")
    def _timed(self) -> Self:
        if (self.at_s is None) == (self.past_patience_s is None):
            raise wrong("it happens at_s or past_patience_s: one of the two is needed")
        return self


def _wrong(message: str, number: int, key: str) -> Exception:
    return wrong(message, "events", str(number), key)


class Silence(EventTable):
    """The application says nothing: what keeps the path open is the stacks' own timers."""

    kind: Literal["silence"]
    for_s: Span = Field(description="Seconds without a word of the application.")

    def faults(self, timers: Timers) -> Iterator[tuple[float, Fault]]:
        yield self.at(timers), MappingTimeout(self.for_s)


class Reboot(EventTable):
    """A NAT forwards nothing for a while, and then knows no flow of before."""

    NODE = "router"

    kind: Literal["nat-reboot"]
    node: str = Field(description=_NODE)
    down_s: Span = Field(default=0.3, description="Seconds in which nothing is forwarded.")

    def faults(self, timers: Timers) -> Iterator[tuple[float, Fault]]:
        yield self.at(timers), NatReboot(self.node, self.down_s)


class NewAddress(EventTable):
    """The provider gives a router another external address."""

    NODE = "router"

    kind: Literal["new-address"]
    node: str = Field(description=_NODE)

    def faults(self, timers: Timers) -> Iterator[tuple[float, Fault]]:
        yield self.at(timers), WanAddressChange(self.node)


class Renumbered(EventTable):
    """A NAT forgets its mappings and makes new ones."""

    NODE = "router"

    kind: Literal["rebinding"]
    node: str = Field(description=_NODE)

    def faults(self, timers: Timers) -> Iterator[tuple[float, Fault]]:
        yield self.at(timers), Rebinding(self.node)


class Down(EventTable):
    """A node's wire is cut: a router's to the network outside, a host's own."""

    kind: Literal["link-down"]
    node: str = Field(description=_NODE)

    def faults(self, timers: Timers) -> Iterator[tuple[float, Fault]]:
        yield self.at(timers), LinkDown(self.node)


class Up(EventTable):
    """A wire that was cut is mended."""

    kind: Literal["link-up"]
    node: str = Field(description=_NODE)

    def faults(self, timers: Timers) -> Iterator[tuple[float, Fault]]:
        yield self.at(timers), LinkUp(self.node)


class Roam(EventTable):
    """A host leaves its network for another one, where it has another address."""

    NODE = "host"

    kind: Literal["roam"]
    node: str = Field(description=_NODE)
    to: str = Field(description="The network where it is from then on.")

    def faults(self, timers: Timers) -> Iterator[tuple[float, Fault]]:
        yield self.at(timers), Roaming(self.node, self.to)

    def require_known(self, names: Names, number: int) -> None:
        """As of every event, and for a network that is not there."""
        super().require_known(names, number)
        if self.to not in names.networks:
            message = f"unknown network {self.to!r}; {instead(self.to, names.networks)}"
            raise _wrong(message, number, "to")


Event = Annotated[
    Silence | Reboot | NewAddress | Renumbered | Down | Up | Roam, Field(discriminator="kind")
]
KINDS: Mapping[str, type[EventTable]] = {
    get_args(one.model_fields["kind"].annotation)[0]: one for one in get_args(get_args(Event)[0])
}


class LifeTable(Table):
    """What `testbed life` tells the stacks of timers, and what it changes in the NATs."""

    keepalive_s: Moment = Field(
        default=0.5, description="The stacks' keepalive in a silence; 0: none is sent."
    )
    patience_s: Span = Field(
        default=2.0, description="Seconds without a word after which a stack gives up."
    )
    nat_timers_s: Annotated[int, Field(ge=1, le=600)] | None = Field(
        default=None, description="Every timer of all NATs, in place of their profiles'."
    )
    random_ports: tuple[str, ...] = Field(
        default=(), description="Routers that choose ports at random, whatever their profile says."
    )

    @property
    def timers(self) -> Timers:
        """The stacks'."""
        return Timers(self.keepalive_s or None, self.patience_s)


def timeline(events: Sequence[EventTable], timers: Timers) -> tuple[tuple[float, Fault], ...]:
    """What happens to stacks with these ``timers``, in the order of time."""
    told = [one for event in events for one in event.faults(timers)]
    return tuple(sorted(told, key=lambda one: one[0]))


def known_keys(place: Sequence[str]) -> list[str]:
    """The keys of the event at ``place``, which has its kind behind its number."""
    kind = KINDS.get(place[2]) if len(place) > 2 else None
    return list(kind.model_fields) if kind else []
