"""Networks, and the nodes that are attached to them: hosts and routers."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from functools import cached_property
from itertools import count

from testbed.errors import TopologyError
from testbed.model.behaviour import Protocol
from testbed.model.frozen import FrozenValue
from testbed.model.topology.link import Link

INTERNET = "internet"
TUNNEL_PORT = 4789  # of a tunnel, where no other is said: VXLAN's (RFC 7348)


class Scope(StrEnum):
    """Which kind of addresses a network carries."""

    PUBLIC = "public"  # addresses that stacks take for globally reachable
    PRIVATE = "private"  # RFC 1918
    SHARED = "shared"  # RFC 6598, between a carrier NAT and its subscribers


class Network(FrozenValue):
    """One segment.  Exactly one PUBLIC network, ``internet``, is the lab's core."""

    name: str
    scope: Scope


class Interface(FrozenValue):
    """By which a node is attached to ``network``, with addresses of its own.

    ``over`` makes it the end of a tunnel, which the router that serves ``network`` ends: what
    is sent here goes inside of datagrams by the host's own interface on the network ``over``.
    The router answers it at UDP ``port``.  ``name`` is the kernel's, ``number`` its place in the
    node's declaration, the first one's 0.
    """

    network: str
    addresses: int = 1
    link: Link = Link()
    over: str | None = None
    port: int = TUNNEL_PORT
    name: str = ""
    number: int = 0


def host_names(over: Sequence[str | None]) -> tuple[str, ...]:
    """Of a host's interfaces, of which some are tunnels over a network."""
    wires, tunnels = count(), count()
    return tuple(f"eth{next(wires)}" if one is None else f"tun{next(tunnels)}" for one in over)


def router_names(uplinks: int) -> tuple[str, ...]:
    """Of a router's uplinks."""
    return ("wan", *(f"wan{number}" for number in range(1, uplinks)))


class Host(FrozenValue):
    """An end system with one or several interfaces, and one or more addresses on each.

    ``network``, ``addresses`` and ``link`` are of the first one, ``eth0``.  The default route
    leads by the interface whose number is ``preferred``; its first address is the one that
    programs are told to use.  A socket that is bound to another address leaves by its interface.
    """

    name: str
    network: str
    addresses: int = 1
    link: Link = Link()
    port: int | None = None  # where what it runs listens; None: one that no other host has
    region: str | None = None  # of the internet; None: behind a router, or there are none
    more: tuple[Interface, ...] = ()
    preferred: int = 0

    @cached_property
    def interfaces(self) -> tuple[Interface, ...]:
        """All, the preferred one first."""
        every = (Interface(self.network, self.addresses, self.link), *self.more)
        names = host_names([one.over for one in every])
        return _preferred(self, [replace(o, name=n) for o, n in zip(every, names, strict=True)])


class PortForward(FrozenValue):
    """A port of a router's first external address that is forwarded to ``node`` on its LAN."""

    protocol: Protocol
    external_port: int
    node: str  # a host, or the router of a network further inside
    internal_port: int


class Router(FrozenValue):
    """A NAT (or firewall) between ``lan`` (inside) and an uplink (outside).

    ``wan``, ``external_addresses`` and ``link`` are of the first uplink.  The one whose number
    is ``preferred`` is in use; the others stand by, and let nothing in or out.
    """

    name: str
    wan: str
    lan: str
    profile: str
    external_addresses: int = 1
    link: Link = Link()  # of the WAN interface
    region: str | None = None  # as a host's
    forwards: tuple[PortForward, ...] = ()  # the world's, beside those of its profile
    more: tuple[Interface, ...] = ()
    preferred: int = 0

    @cached_property
    def interfaces(self) -> tuple[Interface, ...]:
        """All uplinks, the one in use first."""
        uplinks = (Interface(self.wan, self.external_addresses, self.link), *self.more)
        names = router_names(len(uplinks))
        return _preferred(self, [replace(u, name=n) for u, n in zip(uplinks, names, strict=True)])


def _preferred(node: Host | Router, interfaces: list[Interface]) -> tuple[Interface, ...]:
    if not 0 <= node.preferred < len(interfaces):
        raise TopologyError(
            f"interface {node.preferred}: it has {len(interfaces)}, the first is 0", node=node.name
        )
    numbered = [replace(one, number=number) for number, one in enumerate(interfaces)]
    return (numbered.pop(node.preferred), *numbered)
