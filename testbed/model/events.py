"""The tables of a world's file that say what happens in the course of time, and to what stacks.

Times are seconds after the peers have been connected directly and steadily.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field, model_validator

from testbed.model.life import Timers
from testbed.model.network_fault import (
    Fault,
    LinkChange,
    LinkDown,
    LinkUp,
    LossBurst,
    LossOver,
    MappingTimeout,
    NatReboot,
    Rebinding,
    RelayRestart,
    Roaming,
    Sleep,
    Switch,
    Wake,
    WanAddressChange,
)
from testbed.model.table import Table, wrong
from testbed.model.topology import Link
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
    links: Mapping[str, Link]
    attached: Mapping[str, Sequence[str]]  # node -> the networks that it has interfaces on

    def of(self, kind: Kind) -> Sequence[str]:
        """The names of one kind of node."""
        known = {"router": self.routers, "host": self.hosts}
        return known.get(kind, (*self.routers, *self.hosts))


@dataclass(frozen=True)
class Wires:
    """The links of a world: by their names, and by the nodes whose they are at the beginning."""

    known: Mapping[str, Link]
    begin: Mapping[str, Link]


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

    def fault(self) -> Fault:
        """What is done to the network.  What a wire is then, `timeline` says."""
        raise NotImplementedError

    @property
    def later(self) -> tuple[tuple[float, Fault], ...]:
        """What is done some seconds after that."""
        return ()

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

    def fault(self) -> Fault:
        return MappingTimeout(self.for_s)


class Reboot(EventTable):
    """A NAT forwards nothing for a while, and then knows no flow of before."""

    NODE = "router"

    kind: Literal["nat-reboot"]
    node: str = Field(description=_NODE)
    down_s: Span = Field(default=0.3, description="Seconds in which nothing is forwarded.")

    def fault(self) -> Fault:
        return NatReboot(self.node, self.down_s)


class NewAddress(EventTable):
    """The provider gives a router another external address."""

    NODE = "router"

    kind: Literal["new-address"]
    node: str = Field(description=_NODE)

    def fault(self) -> Fault:
        return WanAddressChange(self.node)


class Renumbered(EventTable):
    """A NAT forgets its mappings and makes new ones."""

    NODE = "router"

    kind: Literal["rebinding"]
    node: str = Field(description=_NODE)

    def fault(self) -> Fault:
        return Rebinding(self.node)


class Down(EventTable):
    """A node's wire is cut: a router's to the network outside, a host's own."""

    kind: Literal["link-down"]
    node: str = Field(description=_NODE)

    def fault(self) -> Fault:
        return LinkDown(self.node)


class Up(EventTable):
    """A wire that was cut is mended."""

    kind: Literal["link-up"]
    node: str = Field(description=_NODE)

    def fault(self) -> Fault:
        return LinkUp(self.node)


class Changed(EventTable):
    """A node's wire has other conditions from then on: those of a link of the file."""

    kind: Literal["link-change"]
    node: str = Field(description=_NODE)
    link: str = Field(description="Of `links`: what the wire is from then on.")

    def fault(self) -> Fault:
        return LinkChange(self.node, self.link, Link())

    def require_known(self, names: Names, number: int) -> None:
        """As of every event, and for a link that is not there, or changes interfaces."""
        super().require_known(names, number)
        if self.link not in names.links:
            said = f"unknown link {self.link!r}; {instead(self.link, names.links)}"
            raise _wrong(said, number, "link")
        if names.links[self.link].mtu is not None:
            raise _wrong("a link with an mtu: that is the interfaces', and stays", number, "link")


class Burst(EventTable):
    """A node's wire loses frames for a while, in both directions."""

    kind: Literal["loss-burst"]
    node: str = Field(description=_NODE)
    for_s: Span = Field(description="Seconds until it is as it was.")
    loss: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0, description="The share of frames that is lost, 0 to 1."
    )

    def fault(self) -> Fault:
        return LossBurst(self.node, self.loss, Link())

    @property
    def later(self) -> tuple[tuple[float, Fault], ...]:
        """It is over."""
        return ((self.for_s, LossOver(self.node, Link())),)


class Switched(EventTable):
    """The default route of a host leads by another of its interfaces, which may be a tunnel's.

    A router uses another of its uplinks.
    """

    kind: Literal["switch"]
    node: str = Field(description=_NODE)
    to: str = Field(description="The network of the interface that it goes by from then on.")

    def fault(self) -> Fault:
        return Switch(self.node, self.to)

    def require_known(self, names: Names, number: int) -> None:
        """As of every event, and for a network that the node has no interface on."""
        super().require_known(names, number)
        if self.to not in (there := names.attached[self.node]):
            message = f"{self.node} has no interface on {self.to!r}; {instead(self.to, there)}"
            raise _wrong(message, number, "to")


class Asleep(EventTable):
    """A host sleeps: its programs stand still, and its wire is dead."""

    NODE = "host"

    kind: Literal["sleep"]
    node: str = Field(description=_NODE)

    def fault(self) -> Fault:
        return Sleep(self.node)


class Awake(EventTable):
    """A host that slept goes on where it was."""

    NODE = "host"

    kind: Literal["wake"]
    node: str = Field(description=_NODE)

    def fault(self) -> Fault:
        return Wake(self.node)


class RelayRestarted(EventTable):
    """The relay's program ends, and begins anew a while later, knowing nothing of before."""

    kind: Literal["relay-restart"]
    down_s: Span = Field(default=0.5, description="Seconds in which nobody relays.")

    def fault(self) -> Fault:
        return RelayRestart(self.down_s)


class Roam(EventTable):
    """A host leaves its network for another one, where it has another address."""

    NODE = "host"

    kind: Literal["roam"]
    node: str = Field(description=_NODE)
    to: str = Field(description="The network where it is from then on.")

    def fault(self) -> Fault:
        return Roaming(self.node, self.to)

    def require_known(self, names: Names, number: int) -> None:
        """As of every event, and for a network that is not there."""
        super().require_known(names, number)
        if self.to not in names.networks:
            message = f"unknown network {self.to!r}; {instead(self.to, names.networks)}"
            raise _wrong(message, number, "to")


Event = Annotated[
    Silence
    | Reboot
    | NewAddress
    | Renumbered
    | Down
    | Up
    | Changed
    | Burst
    | Roam
    | Switched
    | Asleep
    | Awake
    | RelayRestarted,
    Field(discriminator="kind"),
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


def timeline(
    events: Sequence[EventTable], timers: Timers, wires: Wires
) -> tuple[tuple[float, Fault], ...]:
    """What happens to stacks with these ``timers``, in the order of time."""
    told: list[tuple[float, Fault]] = []
    for event in events:
        at = event.at(timers)
        told += [(at, event.fault()), *((at + more, fault) for more, fault in event.later)]
    now = dict(wires.begin)
    found: list[tuple[float, Fault]] = []
    for at, fault in sorted(told, key=lambda one: one[0]):
        match fault:
            case LinkChange(node, name):
                now[node] = link = wires.known[name]
                found.append((at, LinkChange(node, name, link)))
            case LossBurst(node, loss):
                up, down = (
                    replace(w, loss=loss, burst=None) for w in (now[node].up, now[node].down)
                )
                found.append((at, LossBurst(node, loss, Link(up, down))))
            case LossOver(node):
                found.append((at, LossOver(node, now[node])))
            case _:
                found.append((at, fault))
    return tuple(found)


def known_keys(place: Sequence[str]) -> list[str]:
    """The keys of the event at ``place``, which has its kind behind its number."""
    kind = KINDS.get(place[2]) if len(place) > 2 else None
    return list(kind.model_fields) if kind else []
