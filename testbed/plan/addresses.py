"""Which addresses a lab's networks carry, from its number alone.

The public side is taken from 29.0.0.0/8: globally routable in every stack's
eyes (is_global in Python, IsPublicAddr in go-libp2p), which the documentation
ranges are not, and not announced by anybody a leak could hurt.  Lab ``n`` owns
29.n.0.0/16, 10.n.0.0/16 and a sixteenth of 100.64.0.0/10's /14s, so labs that
run side by side share no address.

A network has its usual size while the lab's own space has room for all of them; the networks of
a larger lab are as much smaller as need be, but never too small for the nodes that are on one.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from testbed.errors import TopologyError
from testbed.model.frozen import FrozenValue

LABS = 256
_SMALLEST = 29  # bits of a network: five addresses beside the gateway's
_BESIDES = 3  # addresses of a network that are no member's: its own, the gateway's, broadcast


class Room(FrozenValue):
    """How many networks of each kind a lab needs, at most."""

    public: int = 0
    private: int = 0
    shared: int = 0


@dataclass
class _Space:
    """Networks of ``prefix`` bits, one behind the other, of the lab's own ``whole``."""

    whole: IPv4Network
    prefix: int
    what: str
    _used: int = 0  # addresses

    def next(self, nodes: int) -> IPv4Network:
        """One with addresses for as many nodes beside its gateway."""
        prefix = min(self.prefix, 32 - (nodes + _BESIDES - 1).bit_length())
        size = 1 << (32 - prefix)
        start = -(-self._used // size) * size
        if start + size > self.whole.num_addresses:
            raise TopologyError(f"the lab needs more {self.what} networks than it owns")
        self._used = start + size
        return IPv4Network((self.whole.network_address + start, prefix))


def _space(whole: str, usual: int, wanted: int, what: str) -> _Space:
    """With networks of ``usual`` bits, or of as many more as ``wanted`` of them take."""
    network = IPv4Network(whole)
    needed = network.prefixlen + max(wanted - 1, 0).bit_length()
    return _Space(network, min(max(usual, needed), _SMALLEST), what)


@dataclass
class AddressPool:
    """Hands out a lab's subnets in order.  ``number``: 0..255."""

    number: int
    room: Room = Room()
    _public: _Space = field(init=False)
    _private: _Space = field(init=False)
    _shared: _Space = field(init=False)
    _given: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.number < LABS:
            raise TopologyError(f"lab number {self.number}: 0 to {LABS - 1} are possible")
        n, room = self.number, self.room
        self._public = _space(f"29.{n}.0.0/16", 26, room.public, "public")
        self._private = _space(f"10.{n}.0.0/16", 24, room.private, "private")
        # 100.64.0.0/10 has 64 /16s: four labs to each, 64 /24s to a lab.
        shared = f"100.{64 + n // 4}.{(n % 4) * 64}.0/18"
        self._shared = _space(shared, 24, room.shared, "shared (100.64.0.0/10)")

    def public(self, nodes: int = 1) -> IPv4Network:
        """Usually a /26: the core's address first, then the node's (up to 60)."""
        return self._public.next(nodes)

    def private(self, nodes: int = 1) -> IPv4Network:
        """A LAN's, usually a /24; the router is its .1."""
        return self._private.next(nodes)

    def shared(self, nodes: int = 1) -> IPv4Network:
        """A carrier access network's, usually a /24; the carrier's router is its .1."""
        return self._shared.next(nodes)

    def members(self, subnet: IPv4Network, wanted: int) -> tuple[IPv4Interface, ...]:
        """Addresses of one node.  The first is always the gateway's.

        Their host parts are those of no other node, in whatever subnet, while there are any left:
        a stack that takes one address's bytes for the other's must not get away with it.
        """
        size = subnet.num_addresses - _BESIDES
        if not 0 < wanted <= size:
            raise TopologyError(f"{subnet} has no room for {wanted} addresses")
        first = self._given
        self._given += wanted
        return tuple(nth(subnet, 2 + (first + index) % size) for index in range(wanted))


def nth(network: IPv4Network, index: int) -> IPv4Interface:
    """The ``index``-th address of ``network`` with its prefix; TopologyError past the end."""
    if not 0 < index < network.num_addresses - 1:
        raise TopologyError(f"{network} has no room for address number {index}")
    return IPv4Interface((network.network_address + index, network.prefixlen))


def mac(address: IPv4Address) -> str:
    """A locally administered MAC that spells the address."""
    return "02:00:" + ":".join(f"{byte:02x}" for byte in address.packed)
