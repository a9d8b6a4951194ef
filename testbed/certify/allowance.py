"""How many mappings a NAT allows, and what can be seen of it with those.  Pure.

The prober asks here before it opens mappings, and the claims before they ask for an axis: what
takes more mappings than there are is not seen, and not claimed.
"""

from collections import Counter
from collections.abc import Iterable

from testbed.model.behaviour import Allocation, Behaviour, Mapping, Protocol
from testbed.model.frozen import FrozenValue

PLENTY = 64  # mappings of one LAN host that all experiments together stay below
PLENTY_OF_ALL = 128  # and of both
SAMPLES = 14  # source ports whose mappings are compared
_DIAGONAL = 2  # remotes that differ in address and port: not which of the two a mapping goes by

# The contacts of the first LAN host's socket and of the other's, in one experiment.
_CONTACTS = {"overloading": (1, 2), "collision": (1, 2), "hairpin": (2, 1)}


class Allowance(FrozenValue):
    """Mappings of one protocol; None: as many as any experiment opens."""

    host: int | None = None  # of one LAN host
    whole: int | None = None  # of all hosts together

    def __str__(self) -> str:
        each = None if self.host is None else f"{self.host} a host"
        whole = None if self.whole is None else f"{self.whole} in all"
        return ", ".join(filter(None, (each, whole))) or "enough"

    def covers(self, hosts: Iterable[object]) -> bool:
        """Is there a mapping for each of ``hosts``, which are named as often as they need one?"""
        counted = Counter(hosts)
        most = max(counted.values(), default=0)
        within = self.host is None or most <= self.host
        return within and (self.whole is None or counted.total() <= self.whole)

    def room(self, most: int) -> int:
        """Of ``most`` mappings of one host, how many there are."""
        return min(one for one in (self.host, self.whole, most) if one is not None)

    @property
    def tells_ports(self) -> bool:
        """Are there enough to see whether a mapping depends on the remote port alone?"""
        return self.room(_DIAGONAL + 1) > _DIAGONAL

    @property
    def tells_order(self) -> bool:
        """Is there a second mapping to compare the first one's port with?"""
        return self.room(2) == 2

    @property
    def tells_spread(self) -> bool:
        """Are there so many that scattered ports span a fair part of their range?"""
        return self.host is None or self.host >= SAMPLES


ENOUGH = Allowance()


def small(host: int | None, whole: int | None) -> Allowance:
    """Numbers that no experiment reaches are none."""
    return Allowance(
        host if host is not None and host < PLENTY else None,
        whole if whole is not None and whole < PLENTY_OF_ALL else None,
    )


def declared(behaviour: Behaviour, protocol: Protocol) -> Allowance:
    """What a profile says of it."""
    return small(behaviour.quota, pool(behaviour, protocol))


def pool(behaviour: Behaviour, protocol: Protocol) -> int | None:
    """How many external ports there are for all; None where the hosts bring their own."""
    transport = behaviour.transport(protocol)
    kept = transport.allocation is Allocation.PRESERVING
    return None if kept else transport.ports.size


def needed(axis: str, mapping: object) -> tuple[int, ...]:
    """The hosts, by number, of the mappings that the experiment of ``axis`` opens at once."""
    first, other = _CONTACTS[axis]
    if mapping == Mapping.ENDPOINT_INDEPENDENT:
        first, other = 1, 1
    return (0,) * first + (1,) * other
