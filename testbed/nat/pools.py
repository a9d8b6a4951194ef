"""The external addresses that a NAT maps to, and the names that rules have for each.  Pure."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

from testbed.model.behaviour import Behaviour, Protocol
from testbed.model.frozen import FrozenValue
from testbed.model.plan import Engine
from testbed.model.profile import Profile

MOST = 4  # addresses of a pool: each has its rules, and nft loads so many at once


class Plane(FrozenValue):
    """One external address with mappings of its own: the ``number``-th of ``count``."""

    address: IPv4Address
    number: int
    count: int

    def name(self, protocol: Protocol) -> str:
        """What tables and chains of one protocol are called by."""
        return str(protocol) if self.count == 1 else f"{protocol}_{self.number}"

    def words(self, protocol: Protocol) -> dict[str, Any]:
        """What is this address's alone, in nft's words."""
        several = self.count > 1
        return {
            "name": self.name(protocol),
            "external": self.address,
            "first_plane": self.number == 0,
            "enters": f"ip daddr {self.address} " if several else "",
            "leaves": f"ip saddr {self.address} " if several else "",
        }


def planes(behaviour: Behaviour, external: Sequence[IPv4Address]) -> tuple[Plane, ...]:
    """All addresses where the profile pools them, else the first alone."""
    used = external if behaviour.pooling is not None else external[:1]
    return tuple(Plane(address, number, len(used)) for number, address in enumerate(used))


def pooled_beyond(profile: Profile, count: int) -> bool:
    """Are ``count`` addresses more than the rules of ``profile`` can pool?"""
    nft = profile.engine is Engine.NFTABLES
    return nft and profile.behaviour.pooling is not None and count > MOST


def words(behaviour: Behaviour, used: Sequence[Plane]) -> dict[str, Any]:
    """Of all addresses together."""
    addresses = [plane.address for plane in used]
    several = f"{{ {', '.join(map(str, addresses))} }}"
    return {
        "externals": addresses,
        "ours": several if len(used) > 1 else addresses[0],
        "pooling": behaviour.pooling if len(used) > 1 else None,
        "planes": [(str(p), [plane.name(p) for plane in used]) for p in Protocol],
    }
