"""Ready-made labs.  Each takes profile names and gives a `Topology`.

The default internet has 20 ms one way between any two of its edges: each access
link adds 10 ms in each direction.  Without delay every skew between two peers
loses the race, and a punching result means nothing.
"""

from collections.abc import Callable
from dataclasses import replace

from testbed.errors import UsageError
from testbed.model.topology import INTERNET, Host, Link, Network, Router, Scope, Topology
from testbed.naming import instead

ACCESS = Link.both(delay_ms=10.0)
BARE = Link()


def _internet() -> Network:
    return Network(INTERNET, Scope.PUBLIC)


def _lan(name: str) -> Network:
    return Network(name, Scope.PRIVATE)


def _server(link: Link) -> Host:
    """The public STUN/TURN host: two addresses, as RFC 5780 needs."""
    return Host("server", INTERNET, addresses=2, link=link)


def two_homes(a: str = "linux-home", b: str = "linux-home", *, link: Link = ACCESS) -> Topology:
    """``a`` behind ``nat-a``, ``b`` behind ``nat-b``, and a public ``server``."""
    return Topology(
        "two-homes",
        networks=(_internet(), _lan("lan-a"), _lan("lan-b")),
        routers=(
            Router("nat-a", INTERNET, "lan-a", a, link=link),
            Router("nat-b", INTERNET, "lan-b", b, link=link),
        ),
        hosts=(Host("a", "lan-a"), Host("b", "lan-b"), _server(link)),
    )


def libp2p(a: str = "linux-home", b: str = "linux-home", *, link: Link = ACCESS) -> Topology:
    """Two homes, a ``server`` that relays, and as many observers as libp2p's stacks ask for."""
    homes = two_homes(a, b, link=link)
    watching = (Host(f"observer-{n}", INTERNET, link=link) for n in range(1, 5))
    return replace(homes, name="libp2p", hosts=(*homes.hosts, *watching))


def home_and_public(a: str = "linux-home", *, link: Link = ACCESS) -> Topology:
    """``a`` behind ``nat-a``; ``b`` has a public address."""
    return Topology(
        "home-and-public",
        networks=(_internet(), _lan("lan-a")),
        routers=(Router("nat-a", INTERNET, "lan-a", a, link=link),),
        hosts=(Host("a", "lan-a"), Host("b", INTERNET, link=link), _server(link)),
    )


def same_lan(a: str = "linux-home", *, link: Link = ACCESS) -> Topology:
    """``a`` and ``b`` behind one NAT, ``nat-a``."""
    return lan_party(a, hosts=2, link=link, name="same-lan")


def lan_party(
    a: str = "linux-home", *, hosts: int = 4, link: Link = ACCESS, name: str = "lan-party"
) -> Topology:
    """Several LAN hosts (a, b, c, ...) behind one NAT."""
    if not 1 <= hosts <= 26:
        raise UsageError(f"{hosts} LAN hosts: between 1 and 26 are possible here")
    return Topology(
        name,
        networks=(_internet(), _lan("lan-a")),
        routers=(Router("nat-a", INTERNET, "lan-a", a, link=link),),
        hosts=(
            *(Host(chr(ord("a") + index), "lan-a") for index in range(hosts)),
            _server(link),
        ),
    )


def carrier(
    a: str = "linux-home",
    b: str = "linux-home",
    *,
    carrier: str = "carrier-grade",
    link: Link = ACCESS,
) -> Topology:
    """Two homes under one carrier NAT: both peers are behind two NATs."""
    return Topology(
        "carrier",
        networks=(_internet(), Network("access", Scope.SHARED), _lan("lan-a"), _lan("lan-b")),
        routers=(
            Router("cgn", INTERNET, "access", carrier, link=link),
            Router("nat-a", "access", "lan-a", a),
            Router("nat-b", "access", "lan-b", b),
        ),
        hosts=(Host("a", "lan-a"), Host("b", "lan-b"), _server(link)),
    )


def observers(a: str = "linux-home", *, count: int = 4, link: Link = ACCESS) -> Topology:
    """``a`` behind ``nat-a``, and several public observers at distinct addresses."""
    if not 1 <= count <= 250:
        raise UsageError(f"{count} observers: between 1 and 250 are possible here")
    return Topology(
        "observers",
        networks=(_internet(), _lan("lan-a")),
        routers=(Router("nat-a", INTERNET, "lan-a", a, link=link),),
        hosts=(
            Host("a", "lan-a"),
            *(Host(f"observer-{n}", INTERNET, link=link) for n in range(1, count + 1)),
            _server(link),
        ),
    )


def probe_bench(a: str = "linux-home", *, link: Link = BARE) -> Topology:
    """What the prober measures a NAT from: two LAN hosts, two public hosts."""
    return Topology(
        "probe-bench",
        networks=(_internet(), _lan("lan-a")),
        routers=(Router("nat-a", INTERNET, "lan-a", a, link=link),),
        hosts=(
            Host("a", "lan-a"),
            Host("b", "lan-a"),
            Host("server", INTERNET, addresses=2, link=link),
            Host("stranger", INTERNET, link=link),
        ),
    )


TWO_SIDED = ("two-homes", "libp2p", "carrier")  # those that take two profiles

PRESETS: dict[str, Callable[..., Topology]] = {
    "two-homes": two_homes,
    "libp2p": libp2p,
    "home-and-public": home_and_public,
    "same-lan": same_lan,
    "lan-party": lan_party,
    "carrier": carrier,
    "observers": observers,
    "probe-bench": probe_bench,
}


def preset(name: str, *profiles: str) -> Topology:
    """The preset ``name`` with the given profiles; UsageError if there is none."""
    try:
        build = PRESETS[name]
    except KeyError:
        raise UsageError(f"unknown topology {name!r}", remedy=instead(name, PRESETS)) from None
    nats = 2 if name in TWO_SIDED else 1
    if len(profiles) > nats:
        raise UsageError(f"{name} has {nats} NAT(s), {len(profiles)} were given")
    return build(*profiles)
