"""A swarm: peers behind NATs that a population gives them, in pairs that meet by relays."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from testbed.model.contract import CircuitLimits
from testbed.model.frozen import FrozenValue
from testbed.model.population import Population
from testbed.model.profile import Profile
from testbed.model.swarming import Workload
from testbed.model.topology import INTERNET, Host, Network, Roles, Scope, Topology
from testbed.nat.load import by_name
from testbed.stacks.registry import Stacks, stacks
from testbed.studies.relays.places import WORLD, places

TRIP_BYTES = 600  # of an echo by which a round trip is measured: no acknowledgement is as long
TRIPS = 3
REQUESTS = (1_000,) * 20  # bytes of each echo
KIB = 64  # that a pair transfers: less than what the limits of the field let pass
FIELD = CircuitLimits(data=128 * 1024, duration=120, circuits=1024)
ON, OFF = "on", "off"


class Pair(FrozenValue):
    """Two peers and their relay; who is named first dials.

    ``turn``: its place among the pairs of this relay, the first one's 0.
    """

    dialer: str
    listener: str
    nats: tuple[str, str]
    relay: str
    turn: int

    @property
    def name(self) -> str:
        return f"{self.dialer}--{self.listener}"


class Swarm(FrozenValue):
    """A case: so many ``peers`` of a population, with libp2p's upgrades on or off.

    Swarms of equal seed and repetition have the same NATs, whatever else they differ in, and a
    larger one has those of a smaller one.  It is one of ``of`` cases that share the chance of an
    error.  ``kib`` is what each pair transfers, where that is its workload.  Dialers are where
    the world's first home is, listeners where its second, and relays and observers where its are.
    """

    population: Population
    peers: int
    stack: str
    upgrades: bool
    relays: int = 1
    workload: Workload = Workload.TRANSFER
    repeat: int = 0
    seed: int = 0
    of: int = 1
    kib: int = KIB
    limits: CircuitLimits = FIELD
    world: str = WORLD

    @property
    def labels(self) -> Mapping[str, str]:
        """Axis -> value."""
        return {
            "population": self.population.name,
            "peers": str(self.peers),
            "stack": self.stack,
            "upgrades": ON if self.upgrades else OFF,
            "workload": self.workload.value,
            "relays": str(self.relays),
            "world": self.world,
            "kib": str(self.kib),
            "limits": ",".join(map(str, self.limits.model_dump().values())),
        }

    @property
    def group(self) -> str:
        """``carriers/transfer/traversal-tcp/64-peers-1-relays/on``."""
        size = f"{self.peers}-peers-{self.relays}-relays"
        end = ON if self.upgrades else OFF
        return f"{self.population.name}/{self.workload}/{self.stack}/{size}/{end}"

    @property
    def name(self) -> str:
        """With its repetition."""
        return f"{self.group}/{self.repeat}"

    @property
    def profiles(self) -> tuple[str, ...]:
        """All of the population."""
        return tuple(self.population.shares)

    @property
    def routers(self) -> Mapping[str, Profile]:
        return by_name((), self.profiles)

    @property
    def stacks(self) -> Stacks:
        return stacks(self.stack)

    @property
    def echoes(self) -> tuple[int, ...]:
        """The bytes of each that is a pair's work."""
        return (self.kib * 1024,) if self.workload is Workload.TRANSFER else REQUESTS

    @property
    def payload(self) -> int:
        """Bytes that a pair echoes."""
        return TRIPS * TRIP_BYTES + sum(self.echoes)

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """The first with the second, the third with the fourth; relays take turns."""
        nats = self.population.drawn(self.peers, f"{self.seed}/{self.repeat}")
        return tuple(
            Pair(
                _peer(2 * n),
                _peer(2 * n + 1),
                (nats[2 * n], nats[2 * n + 1]),
                _relay(n % self.relays),
                n // self.relays,
            )
            for n in range(self.peers // 2)
        )

    @cached_property
    def topology(self) -> Topology:
        """A home for each peer."""
        like = places(self.world)
        behind = {
            host: replace(home, name=f"nat-{host}", lan=f"lan-{host}", profile=nat)
            for pair in self.pairs
            for host, nat, home in zip(
                (pair.dialer, pair.listener), pair.nats, like.homes, strict=True
            )
        }
        homes = [Network(home.lan, Scope.PRIVATE) for home in behind.values()]
        hosts = [Host(name, home.lan) for name, home in behind.items()]
        hosts += [replace(like.relay, name=name, addresses=1) for name in self.relay_names]
        first = self.pairs[0]
        observers = tuple(host.name for host in like.observers)
        return Topology(
            f"swarm-{self.peers}",
            (Network(INTERNET, Scope.PUBLIC), *homes),
            tuple(behind.values()),
            (*hosts, *like.observers),
            Roles(a=first.dialer, b=first.listener, relay=first.relay, observers=observers),
            like.regions,
        )

    @property
    def relay_names(self) -> tuple[str, ...]:
        return tuple(_relay(number) for number in range(self.relays))


def _peer(number: int) -> str:
    return f"p{number + 1}"


def _relay(number: int) -> str:
    return f"relay-{number + 1}"
