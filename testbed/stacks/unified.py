"""libp2p's unified-testing hole-punch contract: what a peer is told, and what it says.

A peer finds its role in the environment, meets the others by two keys of a Redis server,
and ends with 0 and a few lines of YAML if it got a direct connection.  The published
guide (libp2p/unified-testing, docs/write-a-hole-punch-test-app.md) and the runner that
goes with it (hole-punch/lib/run-single-test.sh, July 2026) name some variables and the
result differently: peers get both, and either result is read.
"""

import random
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from testbed.errors import PeerError
from testbed.model.address import MAIN
from testbed.model.contract import Transport
from testbed.model.frozen import FrozenValue
from testbed.model.plan import AddLink, AddRoute, Plan

REDIS = ("127.0.0.1", 6379)  # of each node's own loopback: no network is shared
# What their networks call the interfaces; entry points set routes by these names.
LAN_INTERFACE, WAN_INTERFACE = "lan0", "wan0"
_TRANSPORTS = {Transport.TCP: "tcp", Transport.UDP: "quic-v1"}
_DURATIONS = ("handshake_plus_one_rtt", "handshakeTime")  # the runner's word, the guide's
_EVERYWHERE = IPv4Network("0.0.0.0/0")


class Part(StrEnum):
    """Who a peer is in a cell."""

    RELAY = "relay"
    DIALER = "dialer"
    LISTENER = "listener"


class Keys(FrozenValue):
    """The two keys of Redis, which begin with the test's own."""

    test: str  # 8 hexadecimal digits

    @classmethod
    def of(cls, seed: int) -> "Keys":
        """Equal seeds, equal keys."""
        return cls(f"{random.Random(seed).getrandbits(32):08x}")

    @property
    def relay(self) -> bytes:
        """Holds the relay's multiaddr, with its /p2p/ part."""
        return f"{self.test}_relay_multiaddr".encode()

    @property
    def listener(self) -> bytes:
        """Holds the listener's peer id."""
        return f"{self.test}_listener_peer_id".encode()


class Places(FrozenValue):
    """The nodes of a plan that play the parts."""

    plan: Plan
    dialer: str
    listener: str
    relay: str

    def node(self, part: Part) -> str:
        return {Part.DIALER: self.dialer, Part.LISTENER: self.listener}.get(part, self.relay)


def environment(
    part: Part, places: Places, transport: Transport, keys: Keys
) -> tuple[tuple[str, str], ...]:
    """The variables of a peer, as pairs: those of the guide and those of the runner."""
    host, port = REDIS
    found = {
        "DEBUG": "false",
        "REDIS_ADDR": f"{host}:{port}",
        "TEST_KEY": keys.test,
        "TRANSPORT": _TRANSPORTS[transport],
    }
    if transport is Transport.TCP:
        found |= {"SECURE_CHANNEL": "noise", "MUXER": "yamux"}
    plan, node = places.plan, places.node(part)
    own = str(plan.address(node))
    gateway = str(_gateway(plan, node))
    if part is Part.RELAY:
        # Their relay routes to the peers' networks by the NATs: here that way is closed,
        # and the routes lead where the default route does.
        found |= {"IS_RELAY": "true", "RELAY_IP": own}
        for side, peer in (("DIALER", places.dialer), ("LISTENER", places.listener)):
            found[f"{side}_LAN_SUBNET"] = str(_network(plan, peer))
            found[f"{side}_ROUTER_IP"] = gateway
        return tuple(found.items())
    found |= {
        "IS_DIALER": "true" if part is Part.DIALER else "false",
        f"{part.name}_IP": own,
        "PEER_IP": own,
        "WAN_SUBNET": str(_network(plan, places.relay)),
        "WAN_ROUTER_IP": gateway,
        "ROUTER_IP": gateway,
    }
    return tuple(found.items())


def _network(plan: Plan, node: str) -> IPv4Network:
    own = plan.address(node)
    ends = (end for link in plan.of(AddLink) for end in (link.a, link.b) if end.node == node)
    return next(a.network for end in ends for a in end.addresses if a.ip == own)


def _gateway(plan: Plan, node: str) -> IPv4Address:
    routes = (r for r in plan.of(AddRoute) if r.node == node and r.destination == _EVERYWHERE)
    used = min((r for r in routes if r.table == MAIN), key=lambda route: route.metric)
    assert used.gateway is not None  # by the planner
    return used.gateway


def read_result(text: str, node: str) -> float:
    """The handshake's duration in ms, by a dialer that ended with 0.

    Only the two known forms are looked for: peers write other lines to stdout, too.
    PeerError if there is neither.
    """
    for line in text.splitlines():
        name, _, value = line.strip().partition(":")
        if name in _DURATIONS:
            try:
                return float(value)
            except ValueError:
                raise PeerError(f"{name} is no number: {value.strip()!r}", node=node) from None
    raise PeerError(
        f"ended with 0, and without a result on stdout ({' or '.join(_DURATIONS)})", node=node
    )
