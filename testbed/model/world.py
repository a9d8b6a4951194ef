"""A world: the file that describes a lab, as a frozen model, and the topology that it means.

``testbed/worlds/*.toml`` are worlds, and so is any file of the user's.  The JSON Schema is
`testbed/model/world.schema.json`, made by ``python -m testbed.model.world``; a test holds it
equal to this module.
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from testbed import foreign
from testbed.errors import TopologyError, UsageError
from testbed.model import world_forwards, world_interfaces, world_regions
from testbed.model.events import (
    KINDS,
    Changed,
    Event,
    LifeTable,
    Names,
    Wires,
    known_keys,
    timeline,
)
from testbed.model.life import Timers
from testbed.model.links import CATALOGUE, LinkTable, WayTable
from testbed.model.network_fault import Fault
from testbed.model.table import WRONG, Table, wrong
from testbed.model.toml_lines import line_of
from testbed.model.topology import (
    INTERNET,
    Host,
    Link,
    Network,
    Roles,
    Router,
    Scope,
    Topology,
)
from testbed.model.world_interfaces import InterfaceTable, UplinkTable
from testbed.naming import instead, twice

SCHEMA = Path(__file__).with_name("world.schema.json")

Option = Literal["a", "b"]
Access = Callable[[Link], Link]
Words = Annotated[
    str,
    Field(pattern=r"\S", description="A sentence for people."),
    AfterValidator(foreign.words),
]


class RouterTable(Table):
    """A NAT or a firewall between two networks."""

    wan: str | None = Field(
        default=None, description="The network outside: internet, or another router's inside."
    )
    lan: str = Field(description="The network inside, which no other router serves.")
    profile: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")] = Field(
        description="A NAT profile's name, as `testbed nat list` has them; of your own, too."
    )
    option: Option | None = Field(
        default=None,
        description="-a or -b of the command line names another profile for this router.",
    )
    addresses: Annotated[int, Field(ge=1, le=12)] = Field(
        default=1,
        description="External addresses: profiles with `pooling` map to all, others to the first.",
    )
    link: str | None = Field(
        default=None,
        description="Of `links`, or of `testbed world links`: the way to the network outside.",
    )
    region: world_regions.Name | None = Field(
        default=None, description="Of `regions`: where it is on the internet."
    )
    forwards: dict[world_forwards.Outside, world_forwards.Inside] = Field(
        default={},
        description='Ports that lead inside: "udp/3478" = "server", "tcp/8443" = "server:443", '
        '"udp/49152-49159" = "server". A node on the network inside, as a router of its own.',
    )

    uplinks: tuple[UplinkTable, ...] = Field(
        default=(),
        description="In place of `wan`, where there are several: the first is in use, and the "
        "others stand by.",
    )

    @property
    def attached(self) -> tuple[InterfaceTable, ...]:
        """Its uplinks, one or more."""
        if self.uplinks:
            return tuple(one.interface for one in self.uplinks)
        one = InterfaceTable(network=self.wan or "", addresses=self.addresses, link=self.link)
        return (one,)

    @model_validator(mode="after")
    def _readable(self) -> Self:
        others, written = ("addresses", "link"), self.model_dump(exclude_unset=True)
        world_interfaces.require_one_way(self, "wan", "uplinks", others, written)
        world_forwards.require_possible(self.forwards)
        return self


class HostTable(Table):
    """An end system."""

    network: str | None = Field(default=None, description="internet, or a router's inside.")
    addresses: Annotated[int, Field(ge=1, le=12)] = Field(
        default=1, description="A STUN server that can tell NATs apart (RFC 5780) has two."
    )
    link: str | None = Field(
        default=None, description="Of `links`, or of `testbed world links`: the way to its network."
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None,
        description="Where its programs listen, no other host's port; else one is chosen.",
    )
    region: world_regions.Name | None = Field(
        default=None, description="Of `regions`: where it is on the internet."
    )
    interfaces: tuple[InterfaceTable, ...] = Field(
        default=(),
        description="In place of `network`, where there are several. The default route leads by "
        "the first; a socket that is bound to an address leaves by its interface.",
    )
    default: str | None = Field(
        default=None,
        description="The network that the default route leads to, if not the first interface's: "
        "that of a tunnel, say.",
    )

    @property
    def attached(self) -> tuple[InterfaceTable, ...]:
        """Its interfaces, one or more."""
        one = InterfaceTable(network=self.network or "", addresses=self.addresses, link=self.link)
        return self.interfaces or (one,)

    @property
    def preferred(self) -> int:
        """The number of the interface by which the default route leads."""
        networks = [one.network for one in self.attached]
        return networks.index(self.default) if self.default is not None else 0

    @model_validator(mode="after")
    def _readable(self) -> Self:
        others, written = ("addresses", "link"), self.model_dump(exclude_unset=True)
        world_interfaces.require_one_way(self, "network", "interfaces", others, written)
        networks = [one.network for one in self.attached]
        if self.default is not None and self.default not in networks:
            raise wrong(
                f"no interface is on {self.default!r}; {instead(self.default, networks)}", "default"
            )
        if self.default == networks[0]:
            raise wrong("the first interface's is the default, leave it out", "default")
        return self


class RolesTable(Table):
    """Which host plays which part; those that are left out fall to the hosts called so."""

    a: str | None = Field(default=None, description="The dialer, if it is not the host called a.")
    b: str | None = Field(default=None, description="The listener, if it is not the host called b.")
    relay: str | None = Field(
        default=None, description="STUN and TURN server, libp2p relay; else the host called server."
    )
    observers: tuple[str, ...] | None = Field(
        default=None,
        description="They tell peers their addresses; else the hosts called observer-...",
    )
    peers: Annotated[tuple[str, ...], Field(min_length=3)] | None = Field(
        default=None,
        description="Of a mesh, three hosts or more: each meets each, who is named earlier dials.",
    )


class ExpectTable(Table):
    """What is expected where the model of the NATs cannot tell: of rates and MTUs.

    It holds for punching between the NATs that the file names; else the model's prediction does.
    """

    outcome: Literal["direct", "relayed", "none"] = Field(description="How the peers end.")
    within_s: Annotated[float, Field(gt=0, le=60)] | None = Field(
        default=None, description="The later peer says so by then, from the common start."
    )
    recovers_within_s: Annotated[float, Field(gt=0, le=600)] | None = Field(
        default=None, description="No longer is the connection gone, whatever happens to it."
    )


class World(Table):
    """One file.  The network ``internet`` is always there."""

    title: Words
    source: Words = Field(description="Where such a network is met: a citation, or none and why.")
    networks: dict[str, Literal["private", "shared"]] = Field(
        default={}, description="By name: RFC 1918 addresses, or RFC 6598's, inside a carrier."
    )
    links: dict[str, LinkTable] = Field(default={}, description="By name.")
    regions: world_regions.Table = Field(
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
    def _every_link(self) -> Mapping[str, Link]:
        """The file's, and those of the catalogue that are called otherwise."""
        catalogued = {name: one.link() for name, one in CATALOGUE.items()}
        return catalogued | {name: table.link() for name, table in self.links.items()}

    def timeline(self, timers: Timers | None = None) -> tuple[tuple[float, Fault], ...]:
        """What happens to stacks with these ``timers`` (the file's, if None), in order of time."""
        known = self._every_link
        tables: Mapping[str, RouterTable | HostTable] = {**self.routers, **self.hosts}
        begin = {key: known.get(one.attached[0].link or "", Link()) for key, one in tables.items()}
        return timeline(self.events, timers or self.life.timers, Wires(known, begin))

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
            roles=Roles(**self.roles.model_dump(exclude_none=True)),
            regions=world_regions.read(self.regions),
        )

    def _router(
        self, key: str, named: Mapping[Option, str], link: world_interfaces.Links
    ) -> Router:
        one = self.routers[key]
        first, *more = world_interfaces.read(one.attached, link)
        return Router(
            key,
            first.network,
            one.lan,
            named[one.option] if one.option else one.profile,
            first.addresses,
            first.link,
            one.region,
            world_forwards.read(one.forwards),
            tuple(more),
        )

    def _host(self, key: str, link: world_interfaces.Links) -> Host:
        one = self.hosts[key]
        first, *more = world_interfaces.read(one.attached, link)
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
        if INTERNET in self.networks:
            raise wrong("it is always there, leave it out", "networks", INTERNET)
        if self.options == ("b",):
            raise wrong("a router has option b, and none has option a", "routers")
        self._refuse_unknown_players()
        self._refuse_unknown_links()
        world_regions.require_whole(self.regions)
        self._refuse_stray_forwards()
        nodes: Mapping[str, RouterTable | HostTable] = {**self.routers, **self.hosts}
        names = Names(
            (*self.routers,),
            (*self.hosts,),
            (INTERNET, *self.networks),
            self._every_link,
            {key: [one.network for one in node.attached] for key, node in nodes.items()},
        )
        for number, event in enumerate(self.events):
            event.require_known(names, number)
        if self.expect is not None:
            self._refuse_other_expectations(self.expect)
        for name in self.life.random_ports:
            if name not in self.routers:
                raise wrong(f"no router is called {name!r}", "life", "random_ports")
        return self

    def _refuse_other_expectations(self, told: ExpectTable) -> None:
        """Of a path to which something happens nobody asks when it was there first."""
        unused = "within_s" if self.events else "recovers_within_s"
        if getattr(told, unused) is not None:
            said = "with [[events]], say recovers_within_s" if self.events else "without [[events]]"
            raise wrong(f"it has no effect {said}", "expect", unused)
        if self.events and (told.outcome == "none") == (told.recovers_within_s is not None):
            raise wrong(
                "recovers_within_s is needed, unless the outcome is none", "expect", "outcome"
            )

    def _refuse_unknown_players(self) -> None:
        for part, said in self.roles.model_dump(exclude_none=True).items():
            names = said if isinstance(said, tuple) else (said,)
            for name in names:
                if name not in self.hosts:
                    raise wrong(f"no host is called {name!r}", "roles", part)
            if again := twice(names):
                raise wrong(f"{again[0]!r} is named twice", "roles", part)

    def _refuse_stray_forwards(self) -> None:
        for name, router in self.routers.items():
            nodes: Mapping[str, RouterTable | HostTable] = {**self.routers, **self.hosts}
            inside = [
                key
                for key, node in nodes.items()
                if any(one.network == router.lan for one in node.attached)
            ]
            world_forwards.require_inside(name, router.forwards, inside)

    def _refuse_unknown_links(self) -> None:
        used: dict[tuple[str, ...], str] = {}
        for name, router in self.routers.items():
            found = world_interfaces.links_of(router.attached, "uplinks")
            used |= {("routers", name, *place): word for place, word in found}
        for name, host in self.hosts.items():
            found = world_interfaces.links_of(host.attached, "interfaces")
            used |= {("hosts", name, *place): word for place, word in found}
        later = {one.link for one in self.events if isinstance(one, Changed)}
        for place, word in used.items():
            if word not in self.links and word not in CATALOGUE:
                remedy = instead(word, [*self.links, *CATALOGUE])
                raise wrong(f"unknown link {word!r}; {remedy}", *place)
        for name in self.links:
            if name not in (*used.values(), *later):
                raise wrong("no router and no host uses it", "links", name)


def parse(text: str, name: str, where: str) -> World:
    """The world of a file's ``text``; TopologyError with ``where`` it came from, and the line."""
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        at = re.search(r"\(at line (\d+)", str(error))
        line = int(at[1]) if at else max(1, len(text.splitlines()))
        raise TopologyError(f"{where}:{line}: {error}") from None
    try:
        world = World.model_validate_json(json.dumps(tables, default=str))
    except ValidationError as error:
        faults = [_fault(text, where, one) for one in error.errors()]
        raise TopologyError("\n".join(dict.fromkeys(faults))) from None
    try:
        world.topology(name)
    except TopologyError as error:
        at_node = _place(world, error.node) if error.node else ()
        line = line_of(text, at_node)
        said = ".".join(at_node)
        message = f"{where}:{line}: {said + ': ' if said else ''}{error.message}"
        raise TopologyError(message, remedy=error.remedy) from None
    return world


def _place(world: World, node: str) -> tuple[str, ...]:
    return ("routers" if node in world.routers else "hosts", node)


def _fault(text: str, where: str, error: Mapping[str, Any]) -> str:
    """One line: where, which key, what was expected, what stands there."""
    place = tuple(str(part) for part in error["loc"])
    message = str(error["msg"])
    if error["type"] == "union_tag_invalid":
        said = str(error["ctx"]["tag"])
        place, message = (*place, "kind"), f"unknown kind {said!r}; {instead(said, KINDS)}"
    elif error["type"] == "union_tag_not_found":
        message = "missing key 'kind'"
    elif error["type"] == "extra_forbidden":
        known = _known(place[:-1])
        message = f"unknown key; {instead(place[-1], known)}" if known else "unknown key"
    elif error["type"] == "missing":
        place, message = place[:-1], f"missing key {place[-1]!r}"
    elif error["type"] == WRONG:
        place = (*place, *error["ctx"]["place"])
    else:
        message += f", not {error['input']!r}"
    if place[:1] == ("events",) and len(place) > 2 and place[2] in KINDS:
        place = (*place[:2], *place[3:])
    key_words = f" {'.'.join(place)}:" if place else ""
    return f"{where}:{line_of(text, place)}:{key_words} {message}"


_TABLES: Mapping[str, type[BaseModel]] = {
    "routers": RouterTable,
    "hosts": HostTable,
    "links": LinkTable,
    "roles": RolesTable,
    "expect": ExpectTable,
    "life": LifeTable,
}


def _known(place: Sequence[str]) -> list[str]:
    """The keys that a table has."""
    if not place:
        return list(World.model_fields)
    if "interfaces" in place:
        return list(InterfaceTable.model_fields)
    if "uplinks" in place:
        return list(UplinkTable.model_fields)
    if place[-1] in ("up", "down"):
        return list(WayTable.model_fields)
    if place[0] == "events":
        return known_keys(place)
    kind = _TABLES.get(place[0])
    return list(kind.model_fields) if kind else []


def schema() -> str:
    """The text of the JSON Schema of `World`."""
    return json.dumps(World.model_json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema(), encoding="utf-8")
