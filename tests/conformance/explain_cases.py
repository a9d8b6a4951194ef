"""The corpus: what is run, what is broken in it, and the cause that it has by that."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace as altered
from pathlib import Path
from typing import Any

from explain_corpus import Case, before, both, peer, rules

from testbed import runner
from testbed.backends.base import Lab
from testbed.cell import Cell
from testbed.explain.model import Cause
from testbed.peers import ice, punch_udp, session, traversal
from testbed.peers.contract import (
    Configure,
    Connected,
    Endpoint,
    Event,
    FailureClass,
    Offer,
    Role,
)
from testbed.peers.contract import (
    Path as Way,
)
from testbed.plan.model import AddLink
from testbed.scenarios import hole_punch
from testbed.topology.model import Impairment
from testbed.traversal import RelayLimits

RESTRICTED = ("port-restricted", "port-restricted")

PROFILE = """
title = "for a test"
met = "nowhere"
source = "none: made for a test"
engine = "nftables"
{top}
[both]
mapping = "endpoint_independent"
filtering = "{filtering}"
allocation = "{allocation}"
{both}
[timeouts]
udp = {udp}
udp_stream = {udp}
tcp_transitory = 120
tcp_established = 7440
{more}
"""


def profile(
    *, top: str = "", both: str = "", more: str = "", udp: int = 60,
    filtering: str = "address_and_port_dependent", allocation: str = "preserving",
) -> str:  # fmt: skip
    """The text of a profile that the catalogue has not got."""
    return PROFILE.format(
        top=top, both=both, more=more, udp=udp, filtering=filtering, allocation=allocation
    )


# -- peers that are broken -------------------------------------------------------


def _gathering(stack: Any, change: Callable[[Configure, Offer], Offer]) -> Callable[[], None]:
    """What a stack offers goes through ``change``."""

    def apply() -> None:
        honest = stack.gather

        async def gather(self: Any, configure: Configure, emit: Any) -> Offer:
            return change(configure, await honest(self, configure, emit))

        stack.gather = gather

    return apply


def _dialer_offers(addresses: Callable[[Configure, Offer], tuple[Endpoint, ...]]) -> Any:
    def change(configure: Configure, offer: Offer) -> Offer:
        if configure.role is Role.DIALER:
            return offer.model_copy(update={"addresses": addresses(configure, offer)})
        return offer

    return change


def _inside(configure: Configure, _offer: Offer) -> tuple[Endpoint, ...]:
    return (Endpoint(address=configure.local_address, port=configure.port),)


def _next_port(_configure: Configure, offer: Offer) -> tuple[Endpoint, ...]:
    one = offer.addresses[0]
    return (Endpoint(address=one.address, port=one.port + 1),)


def _crash(configure: Configure, offer: Offer) -> Offer:
    if configure.role is Role.LISTENER:
        os._exit(9)
    return offer


def _deaf_once_failed() -> None:
    """Who has given up answers no probe any more."""
    honest = punch_udp.UdpPuncher.dial

    async def dial(self: Any, command: Any) -> Event:
        try:
            return await honest(self, command)
        except session.PeerFailure:
            self._punch = None
            raise

    punch_udp.UdpPuncher.dial = dial  # type: ignore[method-assign]


def _mute() -> None:
    """The listener sends no probe, and answers none."""
    honest = punch_udp.UdpPuncher.dial

    async def dial(self: Any, command: Any) -> Event:
        if self._configure.role is Role.LISTENER:
            why = "it does not feel like it"
            raise session.PeerFailure(FailureClass.TIMEOUT, why)
        return await honest(self, command)

    punch_udp.UdpPuncher.dial = dial  # type: ignore[method-assign]


def _deaf() -> None:
    """No frame is heeded, from whomever."""
    from testbed.peers.wire import Speaker

    Speaker.heeds = lambda *_: False  # type: ignore[method-assign,assignment]


def _boast() -> None:
    """Every connection is said to be direct."""
    said = session._Session.emit

    def emit(self: session._Session, event: Event) -> None:
        if isinstance(event, Connected):
            event = event.model_copy(update={"path": Way.DIRECT})
        said(self, event)

    session._Session.emit = emit  # type: ignore[method-assign]


def _stubborn() -> None:
    """Both are controlling, with one tie-breaker, and none gives way (RFC 8445 section 7.3.1.1)."""
    honest = ice.PatientConnection.__init__

    def give_way(**_: Any) -> None:
        raise RuntimeError("never")

    def init(self: Any, configure: Configure) -> None:
        honest(self, configure)
        self.ice_controlling = True
        self._tie_breaker = 7
        self.switch_role = give_way

    ice.PatientConnection.__init__ = init  # type: ignore[method-assign]


def _upgrades_anyway() -> None:
    honest = traversal.UpgradeOptions
    traversal.UpgradeOptions = lambda **words: honest(  # type: ignore[misc,assignment]
        **{**words, "enabled": True}
    )


# -- a lab that is broken --------------------------------------------------------


def _from(lab: Lab, node: str, ports: range, target: tuple[str, int]) -> None:
    """One datagram from each port, so that each has a mapping."""
    for port in ports:
        with lab.socket(node, socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("", port))
            sock.sendto(b"early", target)


def _use_up(count: int) -> Callable[[Lab], None]:
    def act(lab: Lab) -> None:
        _from(lab, "a", range(20000, 20000 + count), (str(lab.plan.address("server")), 9))

    return act


def _collide(lab: Lab) -> None:
    """Another address behind nat-a has sent from the punch port to nat-b's."""
    own = lab.plan.address("a")
    lab.run("a", ["ip", "address", "add", f"{own + 1}/32", "dev", "eth0"])
    try:
        with lab.socket("a", socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((str(own + 1), 4001))
            sock.sendto(b"early", (str(lab.plan.address("nat-b")), 4001))
    finally:
        lab.run("a", ["ip", "address", "del", f"{own + 1}/32", "dev", "eth0"])


def _side_network(lab: Lab) -> None:
    lab.run("a", ["ip", "link", "add", "side", "type", "veth", "peer", "name", "side-b"])


def _cut(node: str) -> Callable[[Path], None]:
    """The link of ``node`` loses everything that is for it."""

    def broken(_folder: Path) -> None:
        real = runner.plan

        def plan(*words: Any) -> Any:
            whole = real(*words)
            steps = tuple(
                altered(step, b_to_a=Impairment(delay_ms=10.0, loss=1.0))
                if isinstance(step, AddLink) and step.a.node == node and step.a.ifname != "lan"
                else step
                for step in whole.steps
            )
            return altered(whole, steps=steps)

        runner.plan = plan

    return broken


def _relay_with(limits: RelayLimits) -> Callable[[Path], None]:
    def broken(_folder: Path) -> None:
        import testbed.traversal

        testbed.traversal.RelayLimits = lambda: limits  # type: ignore[misc,assignment]

    return broken


def _dead_relay(_folder: Path) -> None:
    """The relay is killed before the peers start; the observers live."""
    real = hole_punch.infrastructure

    @contextmanager
    def dying(lab: Lab, relay: str, *words: Any) -> Iterator[Any]:
        spawn = lab.spawn
        spawned: dict[str, Any] = {}
        lab.spawn = lambda node, entry: spawned.setdefault(  # type: ignore[method-assign]
            node, spawn(node, entry)
        )
        with real(lab, relay, *words) as public:
            spawned[relay].kill()
            yield public

    hole_punch.infrastructure = dying


def _lazy_listener() -> None:
    """It lets its reservation run out, and is dialed only then."""
    from testbed.traversal.aio.relay_client import RelayClient

    async def keep(self: Any, peer: Any, address: Any) -> None:
        del self, peer, address

    RelayClient._keep = keep  # type: ignore[method-assign]
    honest = traversal.TraversalPeer._offered

    async def offered(self: Any, node: Any) -> Any:
        told = await honest(self, node)
        if self._configure.role is Role.LISTENER:
            await asyncio.sleep(2.5)
        return told

    traversal.TraversalPeer._offered = offered  # type: ignore[method-assign]


def _no_turn(_folder: Path) -> None:
    """coturn does not listen where the peers look for a relay."""
    hole_punch.HTTPS_PORT = 444  # type: ignore[misc]


# -- the cases ---------------------------------------------------------------------

C = Cause


def _udp(a: str, b: str = "port-restricted", **more: Any) -> Cell:
    return Cell("punch-udp", (a, b), **more)


def _tcp(a: str, b: str = "port-restricted", **more: Any) -> Cell:
    return Cell("punch-tcp", (a, b), **more)


def _libp2p(a: str = "port-restricted", b: str = "port-restricted", **more: Any) -> Cell:
    return Cell("traversal-tcp", (a, b), "libp2p", **more)


NO_TCP = profile(more="[tcp]\nblocked = true")
FORGETFUL = profile(allocation="sequential", udp=1)
FOUR = profile(top="quota = 4", filtering="endpoint_independent")
NARROW = profile(allocation="sequential", both="ports = { first = 40000, last = 40001 }")
DEAF_CARRIER = profile(filtering="endpoint_independent", allocation="random", both="seed = 7")

CASES: dict[str, Case] = {
    # mappings
    "symmetric dialer": Case(_udp("symmetric"), C.MAPPING_CHANGED, "nat-a"),
    "symmetric listener over TCP": Case(
        _tcp("port-restricted", "symmetric"), C.MAPPING_CHANGED, "nat-b"
    ),
    "symmetric both": Case(_udp("symmetric", "symmetric"), C.MAPPING_CHANGED, "nat-a"),
    "symmetric in ICE": Case(
        Cell("ice", ("symmetric", "port-restricted")), C.MAPPING_CHANGED, "nat-a"
    ),
    "symmetric in DCUtR": Case(_libp2p("symmetric"), C.MAPPING_CHANGED, "nat-a"),
    "symmetric in DCUtR over QUIC": Case(
        Cell("traversal-quic", ("port-restricted", "symmetric"), "libp2p"),
        C.MAPPING_CHANGED,
        "nat-b",
    ),
    "mapping forgotten": Case(
        _udp("port-restricted", "forgetful", skew_ms=2500.0),
        C.MAPPING_TIMED_OUT,
        "nat-b",
        profiles={"forgetful": FORGETFUL},
    ),
    "early packet owns the tuple": Case(
        _udp("naive-linux", "naive-linux", skew_ms=120.0), C.TUPLE_TAKEN, "nat-b"
    ),
    "somebody else has the port": Case(
        _udp("linux-home", "linux-home"), C.PORT_COLLISION, "nat-a", before(_collide)
    ),
    # limits
    "quota used up": Case(
        _udp("four"), C.QUOTA_REACHED, "nat-a", before(_use_up(4)), {"four": FOUR}
    ),
    "no port left": Case(
        _udp("narrow"), C.PORTS_EXHAUSTED, "nat-a", before(_use_up(2)), {"narrow": NARROW}
    ),
    "UDP blocked": Case(_udp("udp-blocked"), C.UDP_BLOCKED, "nat-a"),
    "UDP blocked, relayed by ICE": Case(
        Cell("ice", ("full-cone", "udp-blocked")), C.UDP_BLOCKED, "nat-b"
    ),
    "UDP blocked for QUIC": Case(
        Cell("traversal-quic", ("udp-blocked", "full-cone"), "libp2p"), C.UDP_BLOCKED, "nat-a"
    ),
    "TCP blocked": Case(_tcp("no-tcp"), C.TCP_BLOCKED, "nat-a", profiles={"no-tcp": NO_TCP}),
    "only the web's ports": Case(_tcp("corporate"), C.TCP_BLOCKED, "nat-a"),
    # filters and time
    "late listener": Case(
        _udp("port-restricted", skew_ms=3400.0),
        C.FILTER_NOT_OPEN_YET,
        "nat-b",
        peer("punch-udp", _deaf_once_failed),
    ),
    "early SYN is reset": Case(
        _tcp("rejecting", "rejecting", skew_ms=500.0),
        C.EARLY_SYN_RESET,
        "nat-b",
        seen_at=("nat-a", "nat-b"),
    ),
    "early SYN is refused by ICMP": Case(
        _tcp("rejecting-icmp", "rejecting-icmp", skew_ms=500.0), C.EARLY_PACKET_REJECTED, "nat-b"
    ),
    "plain dial to a closed filter": Case(
        _udp("port-restricted", mode="plain_dial"), C.FILTER_CLOSED, "nat-b"
    ),
    "plain dial over TCP": Case(
        _tcp("symmetric", "symmetric", mode="plain_dial"), C.FILTER_CLOSED, "nat-b"
    ),
    # places
    "no hairpin": Case(Cell("punch-udp", ("linux-home",), "same-lan"), C.HAIRPIN_MISSING, "nat-a"),
    "carrier without hairpin": Case(
        Cell("punch-udp", ("linux-home", "linux-home"), "carrier"),
        C.HAIRPIN_MISSING,
        "cgn",
        profiles={"carrier-grade": DEAF_CARRIER},
    ),
    # what peers say
    "told a private address": Case(
        _udp("port-restricted"),
        C.SIGNALLED_PRIVATE,
        "a",
        peer("punch-udp", _gathering(punch_udp.UdpPuncher, _dialer_offers(_inside))),
        seen_at=("b", "core"),
    ),
    "told a wrong port": Case(
        _udp("port-restricted"),
        C.SIGNALLED_STALE,
        "a",
        peer("punch-udp", _gathering(punch_udp.UdpPuncher, _dialer_offers(_next_port))),
    ),
    "liar": Case(
        Cell("ice", ("full-cone", "full-cone"), mode="relay_only"),
        C.FALSE_CLAIM,
        "a",
        peer("ice", _boast),
    ),
    "crashed": Case(
        _udp("full-cone"),
        C.PEER_FAILED,
        "b",
        peer("punch-udp", _gathering(punch_udp.UdpPuncher, _crash)),
    ),
    "mute": Case(_udp("port-restricted"), C.NEVER_SENT, "b", peer("punch-udp", _mute)),
    "deaf": Case(
        _udp("port-restricted"),
        C.HANDSHAKE_FAILED,
        None,
        peer("punch-udp", _deaf),
        seen_at=("a", "b"),
    ),
    "both controlling": Case(
        Cell("ice", ("full-cone", "full-cone")),
        C.ROLE_CONFLICT,
        None,
        peer("ice", _stubborn),
        seen_at=("a", "b"),
    ),
    "upgrades though it must not": Case(
        _libp2p(mode="relay_only"),
        C.PROTOCOL_VIOLATION,
        None,
        peer("traversal-tcp", _upgrades_anyway),
        seen_at=("a", "b"),
    ),
    # relays
    "dead relay": Case(_libp2p(), C.RELAY_UNREACHABLE, "server", _dead_relay),
    "no TURN": Case(
        Cell("ice", ("symmetric", "symmetric")), C.RELAY_UNREACHABLE, "server", _no_turn
    ),
    "no reservation to be had": Case(
        _libp2p(), C.RELAY_REFUSED, "server", _relay_with(RelayLimits(reservations=0))
    ),
    "no circuit to be had": Case(
        _libp2p(), C.RELAY_REFUSED, "server", _relay_with(RelayLimits(circuits=0))
    ),
    "relay carries too little": Case(
        _libp2p(mode="relay_only"),
        C.RELAY_REFUSED,
        "server",
        _relay_with(RelayLimits(data=8000)),
    ),
    "reservation ran out": Case(
        _libp2p(),
        C.LEASE_EXPIRED,
        "server",
        both(_relay_with(RelayLimits(reservation_ttl=1)), peer("traversal-tcp", _lazy_listener)),
    ),
    # the harness
    "second network": Case(
        _udp("full-cone"),
        C.HARNESS_FAULT,
        None,
        before(_side_network),
        seen_at=("a", "nat-a", "nat-b"),
    ),
    "cut link": Case(_udp("port-restricted"), C.LOST_ON_LINK, "nat-b", _cut("nat-b")),
    # controls
    "silent": Case(_udp("full-cone", mode="silent"), C.PUNCHING_OFF, seen_at=("a",)),
    "relay only": Case(
        Cell("ice", ("full-cone", "full-cone"), mode="relay_only"), C.PUNCHING_OFF, seen_at=("b",)
    ),
    "upgrades off": Case(_libp2p("full-cone", mode="relay_only"), C.PUNCHING_OFF, seen_at=("a",)),
    # it got through
    "both opened": Case(_udp("linux-home"), C.BOTH_OPENED, seen_at=("nat-a",)),
    "open filter": Case(
        _udp("full-cone", "full-cone", mode="plain_dial"), C.FILTER_ADMITS, "nat-b"
    ),
    "late, and the filter is open": Case(
        _udp("port-restricted", "full-cone", skew_ms=400.0), C.FILTER_ADMITS, "nat-b"
    ),
    "answered where it came from": Case(_udp("symmetric", "full-cone"), C.LEARNED_ADDRESS, "nat-a"),
    "dialed back": Case(_libp2p("full-cone"), C.REVERSED, "nat-a"),
    "hairpinned": Case(Cell("punch-udp", ("carrier-grade",), "same-lan"), C.HAIRPINNED, "nat-a"),
    "hairpinned by the carrier": Case(
        Cell("punch-udp", ("linux-home", "linux-home"), "carrier"), C.HAIRPINNED, "cgn"
    ),
    "one network": Case(Cell("ice", ("linux-home",), "same-lan"), C.SAME_NETWORK, seen_at=("b",)),
    "public listener": Case(
        Cell("punch-udp", ("linux-home",), "home-and-public"), C.REACHABLE, "b"
    ),
    "static forward": Case(
        _tcp("port-forward", "port-forward", mode="plain_dial"), C.PORT_MAPPED, "nat-b"
    ),
}


# -- who is wrong ------------------------------------------------------------------


def _closed_oracle(_folder: Path) -> None:
    """The model's filters let in nobody but whom somebody inside has sent to."""
    from testbed.oracle.nat import TransportNat

    def admits(self: TransportNat, *_: Any) -> str:
        return f"{self.name} lets nobody in"

    TransportNat._admits = admits  # type: ignore[method-assign]


def _steady_oracle(_folder: Path) -> None:
    """The model's NATs keep one mapping for all destinations."""
    from testbed.oracle.nat import TransportNat

    TransportNat._dependent_part = lambda *_: None  # type: ignore[method-assign]


ANYBODY = 'iifname "wan" meta l4proto udp dnat ip to udp dport map @owned_udp'
DSTNAT = "type nat hook prerouting priority dstnat; policy accept;"
SILENT = 'meta l4proto tcp counter drop comment "unsolicited"'
RESETS = 'meta l4proto tcp counter reject with tcp reset comment "unsolicited"'
CALLS_BACK = 'iifname "lan" meta l4proto udp dnat ip to udp dport map @owned_udp'

PREDICTIONS: dict[str, tuple[Case, str]] = {  # and what its step says
    "no filter is open": (
        Case(_udp("symmetric", "full-cone"), C.LEARNED_ADDRESS, "nat-a", _closed_oracle),
        "lets nobody in",
    ),
    "no mapping changes": (
        Case(_udp("symmetric"), C.MAPPING_CHANGED, "nat-a", _steady_oracle),
        "leaves nat-a as",
    ),
}
NATS: dict[str, tuple[Case, str, str]] = {  # and which NAT breaks which axis
    "maps at random": (
        Case(
            _udp("linux-home"),
            C.MAPPING_CHANGED,
            "nat-a",
            rules("nat-a", "-p udp -j MASQUERADE", "-p udp -j MASQUERADE --random-fully"),
        ),
        "nat-a",
        "mapping",
    ),
    "lets nobody in": (
        Case(
            _udp("symmetric", "full-cone"), C.MAPPING_CHANGED, "nat-a", rules("nat-b", ANYBODY, "")
        ),
        "nat-b",
        "filtering",
    ),
    "lets anybody in": (
        Case(
            _udp("symmetric"),
            C.LEARNED_ADDRESS,
            "nat-a",
            rules("nat-b", DSTNAT, f"{DSTNAT}\n        {ANYBODY}"),
        ),
        "nat-b",
        "filtering",
    ),
    "lets no UDP out": (
        Case(
            _udp("port-restricted"),
            C.UDP_BLOCKED,
            "nat-a",
            rules(
                "nat-a",
                "chain outbound {",
                'chain outbound {\n        meta l4proto udp counter drop comment "spoofed"',
            ),
        ),
        "nat-a",
        "blocked",
    ),
    "resets early SYNs": (
        Case(
            _tcp("port-restricted", skew_ms=500.0),
            C.EARLY_SYN_RESET,
            None,
            both(rules("nat-a", SILENT, RESETS), rules("nat-b", SILENT, RESETS)),
        ),
        "nat-b",
        "unsolicited",
    ),
    "takes early packets itself": (
        Case(
            _udp("linux-home", "linux-home", skew_ms=120.0),
            C.TUPLE_TAKEN,
            "nat-b",
            rules("nat-b", ":INPUT DROP", ":INPUT ACCEPT", "-A INPUT -j UNSOLICITED", ""),
        ),
        "nat-b",
        "unsolicited",
    ),
    "does not hairpin": (
        Case(
            Cell("punch-udp", ("carrier-grade",), "same-lan"),
            C.HAIRPIN_MISSING,
            "nat-a",
            rules("nat-a", CALLS_BACK, ""),
        ),
        "nat-a",
        "hairpin",
    ),
}
