"""A world's file as a whole, and the topology and the timeline that it means."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from testbed import foreign
from testbed.errors import UsageError
from testbed.model.events import Event, LifeTable, Names, Wires, timeline
from testbed.model.life import Timers
from testbed.model.links import LinkTable, catalogued
from testbed.model.network_fault import Fault
from testbed.model.table import Table
from testbed.model.topology import INTERNET, Host, Link, Network, Roles, Router, Scope, Topology
from testbed.model.world import forwards, interfaces, sound
from testbed.model.world.regions import RoundTrips, regions_of, require_whole
from testbed.model.world.tables import ExpectTable, HostTable, Option, RolesTable, RouterTable

Access = Callable[[Link], Link]
Words = Annotated[
    str,
    Field(pattern=r"\S", description="A sentence for people."),
    AfterValidator(foreign.words),
]


class World(Table):
    """One file.  The network ``internet`` is always there."""

    title: Words
    source: Words = Field(description="Where such a network is met: a citation, or none and why.")
    networks: dict[str, Literal["private", "shared"]] = Field(
        default={}, description="By name: RFC 1918 addresses, or RFC 6598's, inside a carrier."
    )
    links: dict[str, LinkTable] = Field(default={}, description="By name.")
    regions: RoundTrips = Field(
        default={},
        description="Parts of the internet, and for each pair the round trip between their cores "
        "in ms: europe.america = 90. Each node on the internet names its region.",
    )
    routers: dict[str, RouterTable] = Field(default={}, description="By name.")
    hosts: dict[str, HostTable] = Field(description="By name.")
    roles: RolesTable = RolesTable()
    expect: ExpectTable | None = None
    life: LifeTable = LifeTable()
    events: tuple[Event, ...] = Field(
        default=(), description="What happens in the course of time: see `testbed life`."
    )

    @property
    def options(self) -> tuple[Option, ...]:
        """Which of -a and -b have an effect, in this order."""
        used = {router.option for router in self.routers.values()}
        return tuple(one for one in ("a", "b") if one in used)

    @property
    def defaults(self) -> tuple[str, ...]:
        """The profile that stands for each of `options` where none is named."""
        return tuple(
            next(one.profile for one in self.routers.values() if one.option == letter)
            for letter in self.options
        )

    def chosen(self, name: str, profiles: Sequence[str]) -> tuple[str, ...]:
        """A profile for each of `options`: ``profiles``, then the defaults.

        UsageError for more profiles than that; ``name`` is the world's.
        """
        if len(profiles) > len(self.options):
            can = " and ".join(f"-{letter}" for letter in self.options) or "none"
            raise UsageError(
                f"{name} takes {len(self.options)} NAT(s) by option, {len(profiles)} were given",
                remedy=f"options with an effect: {can}",
            )
        return (*profiles, *self.defaults[len(profiles) :])

    @property
    def _nodes(self) -> Mapping[str, RouterTable | HostTable]:
        return {**self.routers, **self.hosts}

    @property
    def _every_link(self) -> Mapping[str, Link]:
        """The file's, and those of the catalogue that are called otherwise."""
        return {**catalogued(), **{name: table.link() for name, table in self.links.items()}}

    def timeline(self, timers: Timers | None = None) -> tuple[tuple[float, Fault], ...]:
        """What happens to stacks with these ``timers`` (the file's, if None), in order of time."""
        begin: dict[tuple[str, str], Link] = {}
        names = self._names
        for key, node in self._nodes.items():
            there = list(zip(node.attached, names.attached[key], strict=True))
            wires = [(at.name, table.link) for table, at in there if not at.tunnel]
            for name, word in [("", wires[0][1]), *wires]:
                begin[key, name] = names.links.get(word or "", Link())
        return timeline(self.events, timers or self.life.timers, Wires(names, begin))

    def topology(
        self, name: str, profiles: Sequence[str] = (), access: Access | None = None
    ) -> Topology:
        """The topology called ``name``, with ``profiles`` for `options`, in this order.

        ``access`` makes the link of all that is attached to the internet out of the file's.
        """
        named = dict(zip(self.options, self.chosen(name, profiles), strict=True))
        links = self._every_link

        def link(network: str, word: str | None) -> Link:
            said = Link() if word is None else links[word]
            return access(said) if access is not None and network == INTERNET else said

        return Topology(
            name,
            networks=(
                Network(INTERNET, Scope.PUBLIC),
                *(Network(key, Scope(scope)) for key, scope in self.networks.items()),
            ),
            routers=tuple(self._router(key, named, link) for key in self.routers),
            hosts=tuple(self._host(key, link) for key in self.hosts),
            roles=Roles(**self.roles.model_dump(exclude_none=True, exclude={"at"})),
            regions=regions_of(self.regions),
        )

    def _router(self, key: str, named: Mapping[Option, str], link: interfaces.Links) -> Router:
        one = self.routers[key]
        first, *more = interfaces.read(one.attached, link)
        return Router(
            key,
            first.network,
            one.lan,
            named[one.option] if one.option else one.profile,
            first.addresses,
            first.link,
            one.region,
            forwards.read(one.forwards),
            tuple(more),
        )

    def _host(self, key: str, link: interfaces.Links) -> Host:
        one = self.hosts[key]
        first, *more = interfaces.read(one.attached, link)
        return Host(
            key,
            first.network,
            first.addresses,
            first.link,
            one.port,
            one.region,
            tuple(more),
            one.preferred,
        )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        sound.require_options(self.options, self.networks)
        sound.require_players(self.roles, self.hosts)
        sound.require_links(self.routers, self.hosts, self.links, self.events)
        require_whole(self.regions)
        sound.require_inside(self.routers, self._nodes)
        sound.require_possible(self.events, self._names)
        if self.expect is not None:
            sound.require_fitting(self.expect, happens=bool(self.events))
        sound.require_routers(self.life.random_ports, self.routers)
        return self

    @property
    def _names(self) -> Names:
        return Names(
            (*self.routers,),
            (*self.hosts,),
            (INTERNET, *self.networks),
            self._every_link,
            {key: node.interfaces_named for key, node in self._nodes.items()},
            self.roles.dns,
        )
