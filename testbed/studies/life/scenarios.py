"""The scenarios: worlds in which something happens to a path, between NATs that are chosen.

Times in those of ours are scaled: what takes 30 s in the field (a NAT's UDP timer, a keepalive
of 15 s or of 60 s) takes 2 s there.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from testbed.errors import UsageError
from testbed.model.behaviour import Allocation, Behaviour, Timeouts
from testbed.model.frozen import FrozenValue
from testbed.model.life import Fate, FileExpects, Timers
from testbed.model.network_fault import MappingTimeout, Roaming, Sleep, Switch, dock
from testbed.model.presets import LIVES, Found, find
from testbed.model.profile import Profile
from testbed.model.topology import Host, Link, Router, Topology
from testbed.naming import instead
from testbed.nat.load import by_name, with_timeouts
from testbed.nat.rules import check
from testbed.predict.life import Course, Expected
from testbed.predict.wires import past

SHORTEST = Link.both(delay_ms=0.01)  # of a wire that is changed or cut, and has no delay of its own
_FATES = {"direct": Fate.DIRECT, "relayed": Fate.RELAYED, "none": Fate.LOST}


class Scenario(FrozenValue):
    """``given``: profiles for the options of the ``world``, where they are not its own."""

    world: Found
    given: tuple[Profile, ...] = ()

    @property
    def name(self) -> str:
        """The world's."""
        return self.world.name

    @property
    def about(self) -> str:
        """What happens, in words."""
        return self.world.world.title

    @property
    def timers(self) -> Timers:
        """Of stacks that can be told."""
        return self.world.world.life.timers

    @property
    def timeouts(self) -> Timeouts | None:
        """Of all NATs, in place of their profiles'."""
        seconds = self.world.world.life.nat_timers_s
        return None if seconds is None else Timeouts(seconds, seconds, seconds, seconds)

    @cached_property
    def _chosen(self) -> Topology:
        """The world as its file has it, between the NATs that were chosen."""
        return self.world.topology(*(profile.name for profile in self.given))

    @property
    def nats(self) -> tuple[str, ...]:
        """The profiles of all routers, in their order."""
        return tuple(router.profile for router in self._chosen.routers)

    @property
    def usual(self) -> bool:
        """Whether the NATs are the file's own."""
        return self.nats == tuple(router.profile for router in self.world.topology().routers)

    @property
    def profiles(self) -> Mapping[str, Profile]:
        """The profile of each router, under the name that `topology` knows it by: its own."""
        table = self.world.world.life
        found = {}
        for router in self._chosen.routers:
            profile = by_name(self.given, [router.profile])[router.profile]
            if router.name in table.random_ports:
                profile = replace(profile, behaviour=_random(profile.behaviour))
            if self.timeouts is not None:
                profile = with_timeouts(profile, self.timeouts)
            check(profile)
            found[router.name] = profile
        return found

    def course(self, timers: Timers) -> Course:
        """What happens to a stack with these ``timers``."""
        return Course(self.world.world.timeline(timers), timers)

    @property
    def stated(self) -> Expected | None:
        """What the file expects of it, between its own NATs."""
        told = self.world.world.expect
        if told is None or not self.world.world.events or not self.usual:
            return None
        fate = _FATES[told.outcome]
        return Expected(fate, 0.0, told.recovers_within_s or 0.0, FileExpects(None, None))

    @property
    def silent(self) -> bool:
        """Whether the application falls silent, so that the stack's own timers decide."""
        return any(isinstance(fault, MappingTimeout) for _, fault in self._faults)

    @property
    def sleeps(self) -> bool:
        """Whether the dialer's host does."""
        dialer = self._chosen.roles.a
        return any(isinstance(fault, Sleep) and fault.host == dialer for _, fault in self._faults)

    @property
    def moving(self) -> tuple[Roaming, ...]:
        """Who moves to where it has no interface of its own."""
        moves = (fault for _, fault in self._faults if isinstance(fault, Roaming))
        return tuple(one for one in moves if not self._chosen.on(one.host, one.network))

    @property
    def wandering(self) -> frozenset[str]:
        """The hosts whose address changes."""
        moves = [fault for _, fault in self._faults if isinstance(fault, Roaming | Switch)]
        return frozenset(one.host if isinstance(one, Roaming) else one.node for one in moves)

    @property
    def _faults(self) -> Sequence[tuple[float, object]]:
        return self.course(self.timers).faults

    def topology(self, *, observers: bool) -> Topology:
        """Routers are known by their own names, and where somebody moves, a place waits.

        A wire to which something happens is none that is bare: those cannot be changed.
        """
        told = self._chosen
        kept = [host for host in told.hosts if observers or host.name not in told.observers]
        stirred = past(self.course(self.timers).faults).touched
        kept = [_wired(host, stirred) for host in kept]
        networks = dict.fromkeys(one.network for one in self.moving)
        docks = [Host(dock(network), network) for network in networks]
        routers = (_wired(router, stirred) for router in told.routers)
        return replace(
            told,
            routers=tuple(replace(router, profile=router.name) for router in routers),
            hosts=(*kept, *docks),
            roles=replace(told.roles, observers=told.observers if observers else ()),
        )


N = TypeVar("N", Host, Router)


def _wired(node: N, stirred: Collection[str]) -> N:
    if node.name not in stirred:
        return node
    more = (one if one.over else replace(one, link=_felt(one.link)) for one in node.more)
    return replace(node, link=_felt(node.link), more=tuple(more))


def _felt(link: Link) -> Link:
    return replace(SHORTEST, mtu=link.mtu) if link.transparent else link


def _random(behaviour: Behaviour) -> Behaviour:
    udp, tcp = (replace(t, allocation=Allocation.RANDOM) for t in (behaviour.udp, behaviour.tcp))
    return replace(behaviour, udp=udp, tcp=tcp)


def scenario(name: str) -> Scenario:
    """The scenario called ``name``; UsageError with the known names if there is none."""
    if name not in LIVES:
        raise UsageError(f"unknown scenario {name!r}", remedy=instead(name, LIVES))
    return Scenario(find(name))
