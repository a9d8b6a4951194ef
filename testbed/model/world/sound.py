"""What a world's file may not say, each an error at its key."""

from collections.abc import Iterable, Mapping, Sequence

from testbed.model.events import Changed, EventTable, Names
from testbed.model.links import CATALOGUE, LinkTable
from testbed.model.table import wrong
from testbed.model.topology import INTERNET, OBSERVER
from testbed.model.world import forwards, interfaces
from testbed.model.world.tables import ExpectTable, HostTable, Option, RolesTable, RouterTable
from testbed.naming import instead, twice


def require_options(options: Sequence[Option], networks: Iterable[str]) -> None:
    """The internet is not declared, and who has an option b has an option a."""
    if INTERNET in networks:
        raise wrong("it is always there, leave it out", "networks", INTERNET)
    if tuple(options) == ("b",):
        raise wrong("a router has option b, and none has option a", "routers")


def require_players(roles: RolesTable, hosts: Iterable[str]) -> None:
    """Each role is a host's, and no list names one twice."""
    ends = [roles.a or "a", roles.b or "b", roles.relay or "server", *(roles.peers or ())]
    told = roles.observers
    ends += [host for host in hosts if host.startswith(OBSERVER)] if told is None else told
    for host in roles.at:
        if host not in ends:
            message = f"no stack can be chosen for {host!r}; {instead(host, ends)}"
            raise wrong(message, "roles", "at", host)
    for part, said in roles.model_dump(exclude_none=True, exclude={"at"}).items():
        names = said if isinstance(said, tuple) else (said,)
        for name in names:
            if name not in hosts:
                raise wrong(f"no host is called {name!r}", "roles", part)
        if again := twice(names):
            raise wrong(f"{again[0]!r} is named twice", "roles", part)


def require_inside(
    routers: Mapping[str, RouterTable], nodes: Mapping[str, RouterTable | HostTable]
) -> None:
    """Ports are forwarded to who is on the network inside."""
    for name, router in routers.items():
        inside = [
            key
            for key, node in nodes.items()
            if any(one.network == router.lan for one in node.attached)
        ]
        forwards.require_inside(name, router.forwards, inside)


def require_links(
    routers: Mapping[str, RouterTable],
    hosts: Mapping[str, HostTable],
    links: Mapping[str, LinkTable],
    events: Iterable[EventTable],
) -> None:
    """Each link that is named is known, and each of the file's is named."""
    used: dict[tuple[str, ...], str] = {}
    for name, router in routers.items():
        found = interfaces.links_of(router.attached, "uplinks")
        used |= {("routers", name, *place): word for place, word in found}
    for name, host in hosts.items():
        found = interfaces.links_of(host.attached, "interfaces")
        used |= {("hosts", name, *place): word for place, word in found}
    later = {one.link for one in events if isinstance(one, Changed)}
    for place, word in used.items():
        if word not in links and word not in CATALOGUE:
            remedy = instead(word, [*links, *CATALOGUE])
            raise wrong(f"unknown link {word!r}; {remedy}", *place)
    for name in links:
        if name not in (*used.values(), *later):
            raise wrong("no router and no host uses it", "links", name)


def require_possible(events: Iterable[EventTable], names: Names) -> None:
    """Each event befalls a node that there is."""
    for number, event in enumerate(events):
        event.require_known(names, number)


def require_fitting(told: ExpectTable, *, happens: bool) -> None:
    """Of a path to which something ``happens`` nobody asks when it was there first."""
    unused = "within_s" if happens else "recovers_within_s"
    if getattr(told, unused) is not None:
        said = "with [[events]], say recovers_within_s" if happens else "without [[events]]"
        raise wrong(f"it has no effect {said}", "expect", unused)
    if happens and (told.outcome == "none") == (told.recovers_within_s is not None):
        raise wrong("recovers_within_s is needed, unless the outcome is none", "expect", "outcome")


def require_routers(random_ports: Iterable[str], routers: Iterable[str]) -> None:
    """Who chooses ports at random is a router."""
    for name in random_ports:
        if name not in routers:
            raise wrong(f"no router is called {name!r}", "life", "random_ports")
