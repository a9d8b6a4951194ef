"""The corpus: what is run, what is broken in it, and the cause that it has by that."""

from typing import Any

from explain_breaks import (
    boast,
    closed_oracle,
    collide,
    crash,
    cut,
    dead_relay,
    deaf,
    deaf_once_failed,
    dialer_offers,
    dials_from_anywhere,
    gathering,
    inside,
    lazy_listener,
    mute,
    next_port,
    no_turn,
    relay_with,
    settled,
    side_network,
    steady_oracle,
    stubborn,
    upgrades_anyway,
    use_up,
)
from explain_corpus import Case, before, both, peer, rules

from testbed.model.explanation import Cause
from testbed.stacks import punch_udp
from testbed.studies.punch.cell import Cell
from testbed.traversal import RelayLimits

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
        _udp("linux-home", "linux-home"), C.PORT_COLLISION, "nat-a", before(collide)
    ),
    # limits
    "quota used up": Case(
        _udp("four"), C.QUOTA_REACHED, "nat-a", before(use_up(4)), {"four": FOUR}
    ),
    "no port left": Case(
        _udp("narrow"), C.PORTS_EXHAUSTED, "nat-a", before(use_up(2)), {"narrow": NARROW}
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
        peer("punch-udp", deaf_once_failed),
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
        peer("punch-udp", gathering(punch_udp.UdpPuncher, dialer_offers(inside))),
        seen_at=("b", "core"),
    ),
    "told a wrong port": Case(
        _udp("port-restricted"),
        C.SIGNALLED_STALE,
        "a",
        peer("punch-udp", gathering(punch_udp.UdpPuncher, dialer_offers(next_port))),
    ),
    "dials from anywhere": Case(
        _libp2p(),
        C.PORT_NOT_SHARED,
        "a",
        peer("traversal-tcp", dials_from_anywhere),
        seen_at=("a", "b"),
    ),
    "liar": Case(
        Cell("ice", ("full-cone", "full-cone"), mode="relay_only"),
        C.FALSE_CLAIM,
        "a",
        peer("ice", boast),
    ),
    "crashed": Case(
        _udp("full-cone"),
        C.PEER_FAILED,
        "b",
        peer("punch-udp", gathering(punch_udp.UdpPuncher, crash)),
    ),
    "mute": Case(_udp("port-restricted"), C.NEVER_SENT, "b", peer("punch-udp", mute)),
    "deaf": Case(
        _udp("port-restricted"),
        C.HANDSHAKE_FAILED,
        None,
        peer("punch-udp", deaf),
        seen_at=("a", "b"),
    ),
    "never learns the other's new address": Case(
        _udp("symmetric", "full-cone"),
        C.HANDSHAKE_FAILED,
        "b",
        peer("punch-udp", settled),
        seen_at=("a", "b"),
    ),
    "both controlling": Case(
        Cell("ice", ("full-cone", "full-cone")),
        C.ROLE_CONFLICT,
        None,
        peer("ice", stubborn),
        seen_at=("a", "b"),
    ),
    "upgrades though it must not": Case(
        _libp2p(mode="relay_only"),
        C.PROTOCOL_VIOLATION,
        None,
        peer("traversal-tcp", upgrades_anyway),
        seen_at=("a", "b"),
    ),
    # relays
    "dead relay": Case(_libp2p(), C.RELAY_UNREACHABLE, "server", dead_relay),
    "no TURN": Case(
        Cell("ice", ("symmetric", "symmetric")), C.RELAY_UNREACHABLE, "server", no_turn
    ),
    "no reservation to be had": Case(
        _libp2p(), C.RELAY_REFUSED, "server", relay_with(RelayLimits(reservations=0))
    ),
    "no circuit to be had": Case(
        _libp2p(), C.RELAY_REFUSED, "server", relay_with(RelayLimits(circuits=0))
    ),
    "relay carries too little": Case(
        _libp2p(mode="relay_only"),
        C.RELAY_REFUSED,
        "server",
        relay_with(RelayLimits(data=8000)),
    ),
    "reservation ran out": Case(
        _libp2p(),
        C.LEASE_EXPIRED,
        "server",
        both(relay_with(RelayLimits(reservation_ttl=1)), peer("traversal-tcp", lazy_listener)),
    ),
    # the harness
    "second network": Case(
        _udp("full-cone"),
        C.HARNESS_FAULT,
        None,
        before(side_network),
        seen_at=("a", "nat-a", "nat-b"),
    ),
    "cut link": Case(_udp("port-restricted"), C.LOST_ON_LINK, "nat-b", cut("nat-b")),
    "echo in a black hole": Case(
        Cell("traversal-tcp", ("linux-home", "linux-home"), "mtu-black-hole"), C.TOO_LONG, "nat-a"
    ),
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

ANYBODY = 'iifname "wan" meta l4proto udp dnat ip to udp dport map @owned_udp'
DSTNAT = "type nat hook prerouting priority dstnat; policy accept;"
SILENT = 'meta l4proto tcp counter drop comment "unsolicited"'
RESETS = 'meta l4proto tcp counter reject with tcp reset comment "unsolicited"'
CALLS_BACK = 'iifname "lan" meta l4proto udp dnat ip to udp dport map @owned_udp'

PREDICTIONS: dict[str, tuple[Case, str]] = {  # and what its step says
    "no filter is open": (
        Case(_udp("symmetric", "full-cone"), C.LEARNED_ADDRESS, "nat-a", closed_oracle),
        "has no mapping at",
    ),
    "no mapping changes": (
        Case(_udp("symmetric"), C.MAPPING_CHANGED, "nat-a", steady_oracle),
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
