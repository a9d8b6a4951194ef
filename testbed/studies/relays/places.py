"""Where the nodes of a swarm are: at the links, and in the regions, that a world has."""

from functools import lru_cache

from testbed.errors import UsageError
from testbed.model.frozen import FrozenValue
from testbed.model.presets import find
from testbed.model.regions import Regions
from testbed.model.topology import INTERNET, Host, Router

WORLD = "libp2p"


class Places(FrozenValue):
    """A node of each kind; swarms have more of the same.  ``homes``: dialers' and listeners'."""

    homes: tuple[Router, Router]
    relay: Host
    observers: tuple[Host, ...]
    regions: Regions


@lru_cache(maxsize=64)
def places(world: str) -> Places:
    """Of a world, by name or file; UsageError for one whose homes a swarm cannot have."""
    found = find(world)
    topology = found.topology()
    roles = topology.roles
    ends = [host for name in (roles.a, roles.b) for host in topology.hosts if host.name == name]
    homes = [router for end in ends for router in topology.routers if _home(router, end)]
    public = {host.name: host for host in topology.hosts if host.network == INTERNET}
    names = (roles.relay, *topology.observers)
    two = len(ends) == len(homes) == len(topology.routers) == len(topology.hosts) - len(public) == 2
    if not two or public.keys() != set(names):
        raise UsageError(
            f"{found.name} is no world of two homes, with a relay and observers in the internet",
            remedy="libp2p, far-relay, three-continents, lopsided, ...",
        )
    relay, *observers = (public[name] for name in names)
    return Places((homes[0], homes[1]), relay, tuple(observers), topology.regions)


def _home(router: Router, host: Host) -> bool:
    """Whether it is all that is between a host and the internet."""
    alone = not host.more and not router.more and not router.forwards
    return alone and router.lan == host.network and router.wan == INTERNET
