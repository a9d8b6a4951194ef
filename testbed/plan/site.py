"""Where a router stands, if that is told: names and addresses that are not the lab's own."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from testbed.model.frozen import FrozenValue


class Site(FrozenValue):
    """The interfaces of one router on the internet; what is None or empty is chosen.

    ``outside``: its external address with the network that the provider's ``gateway`` is in,
    too; ``more``: further ones; ``routed``: networks that the provider sends to it.
    ``published``: to the LAN,
    too.  ``inside``: its address in the LAN, whose first hosts have the addresses ``hosts``.
    """

    wan: str = "wan"
    lan: str = "lan"
    outside: IPv4Interface | None = None
    gateway: IPv4Address | None = None
    more: tuple[IPv4Address, ...] = ()
    routed: tuple[IPv4Network, ...] = ()
    published: bool = False
    inside: IPv4Interface | None = None
    hosts: tuple[IPv4Address, ...] = ()

    def addresses(self) -> Iterator[IPv4Interface]:
        """Every external address, as the interface bears it."""
        if self.outside is not None:
            yield self.outside
        yield from (IPv4Interface((address, 32)) for address in self.more)
