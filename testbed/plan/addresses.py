"""Which addresses a lab's networks carry, from its number alone.

The public side is taken from 29.0.0.0/8: globally routable in every stack's
eyes (is_global in Python, IsPublicAddr in go-libp2p), which the documentation
ranges are not, and not announced by anybody a leak could hurt.  Lab ``n`` owns
29.n.0.0/16, 10.n.0.0/16 and a sixteenth of 100.64.0.0/10's /14s, so labs that
run side by side share no address.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from testbed.errors import TopologyError

LABS = 256


@dataclass
class AddressPool:
    """Hands out a lab's subnets in order.  ``number``: 0..255."""

    number: int
    _public: Iterator[IPv4Network] = field(init=False)
    _private: Iterator[IPv4Network] = field(init=False)
    _shared: Iterator[IPv4Network] = field(init=False)
    _given: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.number < LABS:
            raise TopologyError(f"lab number {self.number}: 0 to {LABS - 1} are possible")
        n = self.number
        self._public = IPv4Network(f"29.{n}.0.0/16").subnets(new_prefix=26)
        self._private = IPv4Network(f"10.{n}.0.0/16").subnets(new_prefix=24)
        # 100.64.0.0/10 has 64 /16s: four labs to each, 64 /24s to a lab.
        shared = IPv4Network(f"100.{64 + n // 4}.{(n % 4) * 64}.0/18")
        self._shared = shared.subnets(new_prefix=24)

    def public(self) -> IPv4Network:
        """A /26: the core's address first, then the node's (up to 60)."""
        return self._next(self._public, "public")

    def private(self) -> IPv4Network:
        """A LAN's /24; the router is its .1."""
        return self._next(self._private, "private")

    def shared(self) -> IPv4Network:
        """A carrier access network's /24; the carrier's router is its .1."""
        return self._next(self._shared, "shared (100.64.0.0/10)")

    def members(self, subnet: IPv4Network, wanted: int) -> tuple[IPv4Interface, ...]:
        """Addresses of one node.  The first is always the gateway's.

        Their host parts are those of no other node, in whatever subnet, while there are any left:
        a stack that takes one address's bytes for the other's must not get away with it.
        """
        size = subnet.num_addresses - 3
        if not 0 < wanted <= size:
            raise TopologyError(f"{subnet} has no room for {wanted} addresses")
        first = self._given
        self._given += wanted
        return tuple(nth(subnet, 2 + (first + index) % size) for index in range(wanted))

    def _next(self, subnets: Iterator[IPv4Network], what: str) -> IPv4Network:
        try:
            return next(subnets)
        except StopIteration:
            raise TopologyError(f"the lab needs more {what} networks than it owns") from None


def nth(network: IPv4Network, index: int) -> IPv4Interface:
    """The ``index``-th address of ``network`` with its prefix; TopologyError past the end."""
    if not 0 < index < network.num_addresses - 1:
        raise TopologyError(f"{network} has no room for address number {index}")
    return IPv4Interface((network.network_address + index, network.prefixlen))


def mac(address: IPv4Address) -> str:
    """A locally administered MAC that spells the address."""
    return "02:00:" + ":".join(f"{byte:02x}" for byte in address.packed)
