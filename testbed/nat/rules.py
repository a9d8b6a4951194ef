"""Profile and router in, rule texts out: the only place that writes rules.

`check` refuses, by name, what no rule set can hold; `render` writes the text
for ``iptables-restore`` or ``nft -f`` and the sysctls that belong to it.  Both
are pure.

Choices that the axes leave open.  Of several external addresses every mapping
takes the first, unless the profile says how they are pooled; each of a pool has
its own table of mappings, and the ports of the first alone are forwarded.
Hairpinned packets are not filtered.  With
``internal_source`` hairpinning the receiver's answer goes straight over the LAN,
as behind every NAT of that kind: a datagram gets there, a TCP handshake does not
complete.  A static forward holds its external
port for its host alone; an exposed host holds none, and gets what is called at a port that no
mapping lets in to.  A mapping on which a LAN host closes a TCP connection
has the transitory timer until another connection on it sends.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from testbed import places
from testbed.errors import ProfileError
from testbed.model.behaviour import (
    Behaviour,
    Exposed,
    Filtering,
    Gateway,
    Hairpin,
    Mapping,
    Protocol,
    Refresh,
    Timeouts,
    Transport,
    Unsolicited,
    WanInput,
)
from testbed.model.frozen import FrozenValue
from testbed.model.plan import Engine
from testbed.model.profile import Profile
from testbed.model.refusal import Refusal, Refuses
from testbed.nat.limits import WALKED, refusals
from testbed.nat.pools import MOST, Plane, planes, pooled_beyond
from testbed.nat.pools import words as pool_words

TEMPLATES = places.shared("nat-profiles") / "rules"
HTTP_PORT = 5000  # of UPnP's description and control, on the LAN
_NAT_TABLE = "ip nat_testbed"  # of nftables.j2
_PAUSE = 100  # ms in which a mapping that was held is not held anew
_TRIES = 16  # candidates for an external port before a new mapping is refused
_CLOSING = 0xFFFFFFFF  # conntrack mark of a TCP flow that has seen FIN or RST
_FRESH = 0xFFFFFFFF  # packet mark: the mapping was held a moment ago
_MAPPED = 0xFFFFFFFE  # conntrack mark of a flow that a port-mapping service let in


class RouterContext(FrozenValue):
    """Where the rules are for: interface names and addresses of one router."""

    wan: str
    lan: str
    external: tuple[IPv4Address, ...]
    inside: IPv4Network
    lan_hosts: tuple[IPv4Address, ...]  # subscribers for the quota, targets of forwards
    seed: int = 0  # the router's own, so that no other one chooses ports as it does
    serves: tuple[int, ...] = ()  # UDP ports of programs of its own, for the internet


class RuleSet(FrozenValue):
    """What a router loads: texts for the engines, sysctls as (dotted key, value).

    ``refuses`` is what the texts say of refused packets, as values.
    """

    texts: tuple[tuple[Engine, str], ...]
    sysctls: tuple[tuple[str, str], ...]
    refuses: Refuses


class Hooks(FrozenValue):
    """What a gateway's program needs of a router besides its NAT: as texts."""

    gateway: Gateway
    chains: str  # its own table, empty: loading it again forgets all mappings
    config: str  # miniupnpd.conf, or the settings of our own gateway


def check(profile: Profile) -> None:
    """Raise `ProfileError`, naming the combination, if no rule set can hold it."""
    for message, remedy in refusals(profile):
        raise ProfileError(f"{profile.name}: {message}", remedy=remedy)


def render(profile: Profile, context: RouterContext) -> RuleSet:
    """The rules and sysctls of ``profile`` on the router ``context``.

    ProfileError: `check` refuses the profile, or a forward names a LAN host
    that the router has not got.
    """
    check(profile)
    if profile.behaviour.exposed is Exposed.FIRST_HOST and not context.lan_hosts:
        raise ProfileError(f"{profile.name}: exposed = first_host, but the LAN has no host")
    for forward in profile.behaviour.forwards:
        if forward.host >= len(context.lan_hosts):
            raise ProfileError(
                f"{profile.name}: forward of {forward.protocol} port {forward.external_port} "
                f"to LAN host {forward.host}, but the LAN has {len(context.lan_hosts)}"
            )
    if pooled_beyond(profile, len(context.external)):
        raise ProfileError(
            f"{profile.name}: nftables holds a pool of {MOST} external addresses, and the router "
            f"has {len(context.external)}"
        )
    words = _words(profile, context)
    reasons: set[Refusal] = set()

    def refusal(comment: str) -> Refusal:
        """The comment of a rule, kept for those who ask what the rules refuse."""
        reasons.add(Refusal(comment))
        return Refusal(comment)

    template = _templates().get_template(f"{profile.engine}.j2")
    text = template.render(words | {"refusal": refusal})
    refuses = _refuses(profile, frozenset(reasons))
    settings = tuple(sysctls(profile.behaviour.timeouts))
    return RuleSet(((profile.engine, text),), settings, refuses)


def _refuses(profile: Profile, named: frozenset[Refusal]) -> Refuses:
    """What the rules refuse; ``named`` are the reasons that they bear."""
    behaviour = profile.behaviour
    if behaviour.wan_input is WanInput.ACCEPT and behaviour.translates:
        named -= {Refusal.UNSOLICITED}  # nothing leads to those rules
    limited = ((str(p), behaviour.transport(p).allowed_ports) for p in Protocol)
    ports = tuple((protocol, frozenset(allowed)) for protocol, allowed in limited if allowed)
    nft, hairpin = profile.engine is Engine.NFTABLES, behaviour.hairpin is not Hairpin.NONE
    return Refuses(named, ports, nft and hairpin and behaviour.translates)


def hooks(profile: Profile, context: RouterContext) -> Hooks | None:
    """For a profile with port-mapping services; None for others."""
    services = profile.behaviour.port_mapping
    if not services.offered:
        return None
    words = {
        "wan": context.wan,
        "lan": context.lan,
        "mapped": _MAPPED,
        "http_port": HTTP_PORT,
        # the same for the same router, and another for another
        "uuid": uuid.uuid5(uuid.NAMESPACE_OID, str(context.external[0])),
    }
    own = services.gateway is Gateway.TESTBED
    extra = {"services": services, "refusal": Refusal, "own": own}
    chains = _templates().get_template("portmap.j2").render(words | extra)
    if own:
        config = _settings(profile, context, words)
    else:
        config = _templates().get_template("miniupnpd.j2").render(words | extra)
    return Hooks(services.gateway, chains, config)


def _settings(profile: Profile, context: RouterContext, words: dict[str, Any]) -> str:
    """Of our own gateway, as JSON; see `testbed/lab/services/gateway/settings.py`."""
    services = {k: v for k, v in vars(profile.behaviour.port_mapping).items() if k != "gateway"}
    settings = services | {
        "wan": context.wan,
        "lan": context.lan,
        "uuid": str(words["uuid"]),
        "http_port": HTTP_PORT,
        "mark": _MAPPED,
        "reserved": _NAT_TABLE if profile.engine is Engine.NFTABLES else "",
    }
    return json.dumps(settings, indent=1)


def warm() -> None:
    """Compile the templates, before this process is forked for many labs."""
    for name in _templates().list_templates(extensions=["j2"]):
        _templates().get_template(name)


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # rule text, not markup
    )


# -- the words of the templates ----------------------------------------------


def _words(profile: Profile, context: RouterContext) -> dict[str, Any]:
    behaviour = profile.behaviour
    nft = profile.engine is Engine.NFTABLES
    used = planes(behaviour, context.external)
    exposes = behaviour.exposed is not Exposed.NONE
    return pool_words(behaviour, used) | {
        "wan": context.wan,
        "lan": context.lan,
        "external": context.external[0],
        "inside": context.inside,
        "hosts": context.lan_hosts,
        "translated": [
            _translation(behaviour, p, context, plane)
            for p in Protocol
            for plane in (used if nft else used[:1])
        ]
        if behaviour.translates
        else [],
        "subscribers": context.lan_hosts if behaviour.quota is not None else (),
        "quota": behaviour.quota,
        "hairpin": None if behaviour.hairpin is Hairpin.NONE else behaviour.hairpin,
        "refreshed_inbound": behaviour.refresh is Refresh.BOTH,
        "wan_input": behaviour.wan_input,
        "serves": context.serves,
        "plain": [str(p) for p in Protocol if behaviour.transport(p).plain],
        "answers": [(p, _answer(behaviour.transport(p).unsolicited, nft)) for p in Protocol],
        "refused": [
            (p, t.allowed_ports)
            for p, t in ((p, behaviour.transport(p)) for p in Protocol)
            if t.blocked or t.allowed_ports
        ],
        "closing": _CLOSING,
        "mapped": _MAPPED if behaviour.port_mapping.offered or exposes else None,
        "exposes": exposes,
        "exposed": [
            (plane.address, host)
            for plane in used
            if (host := _exposed(behaviour, context, plane)) is not None
        ],
        "reserves": _reserves(behaviour),
        "tries": _TRIES,
        "pause": _PAUSE,
        "fresh": _FRESH,
        "behaviour": behaviour,
    }


def _answer(unsolicited: Unsolicited, nft: bool) -> str:
    if unsolicited is Unsolicited.DROP:
        return "drop" if nft else "DROP"
    how = {
        Unsolicited.RESET: ("tcp reset", "tcp-reset"),
        Unsolicited.ICMP: ("icmp port-unreachable", "icmp-port-unreachable"),
    }[unsolicited]
    return f"reject with {how[0]}" if nft else f"REJECT --reject-with {how[1]}"


def _translation(
    behaviour: Behaviour, protocol: Protocol, context: RouterContext, plane: Plane
) -> dict[str, Any]:
    """One protocol's part of the rules, of one external address, in nft's words."""
    transport, timeouts = behaviour.transport(protocol), behaviour.timeouts
    udp = protocol is Protocol.UDP
    mapping = transport.mapping
    forwards: list[dict[str, Any]] = [
        {
            "external_port": forward.external_port,
            "address": context.lan_hosts[forward.host],
            "internal_port": forward.internal_port,
        }
        for forward in behaviour.forwards
        if forward.protocol is protocol and plane.number == 0
    ]
    return plane.words(protocol) | {
        "p": protocol,
        "allocation": transport.allocation,
        "filtering": transport.filtering,
        "contacted": transport.filtering is Filtering.ADDRESS_DEPENDENT,
        "apart": remote_apart(transport),
        # A packet's mapping key where the address inside is in its own header.
        "leaving": _key(mapping, f"ip saddr . {protocol} sport", "ip daddr", f"{protocol} dport"),
        "arriving": _key(mapping, f"ip daddr . {protocol} dport", "ip saddr", f"{protocol} sport"),
        "first": transport.ports.first,
        "last": transport.ports.last,
        "size": transport.ports.size,
        "seed": (seed := _seed(context.seed, plane.name(protocol), transport.seed)),
        "begins": seed % transport.ports.size,
        "walks": -(-size // _TRIES) if (size := transport.ports.size) <= WALKED else 0,
        "key_type": _key(mapping, "ipv4_addr . inet_service", "ipv4_addr", "inet_service"),
        "free": _free(
            behaviour, protocol, plane.name(protocol), [f["external_port"] for f in forwards]
        ),
        "ways": [
            way
            for way in _ways(protocol, mapping)
            if way["outbound"] or behaviour.refresh is Refresh.BOTH
        ],
        "passing": int(timeouts.udp if udp else timeouts.tcp_transitory),
        "lasting": int(timeouts.udp if udp else timeouts.tcp_established),
        "forwards": forwards,
        "exposed": _exposed(behaviour, context, plane),
    }


def _exposed(behaviour: Behaviour, context: RouterContext, plane: Plane) -> IPv4Address | None:
    """Whom everything goes to that nothing else takes at one external address."""
    host = behaviour.exposes(plane.number)
    return next(iter(context.lan_hosts[host : host + 1]), None) if host is not None else None


def remote_apart(transport: Transport) -> bool:
    """Does the filter ask for a remote address that the mapping's key has not got?"""
    address_dependent = transport.filtering is Filtering.ADDRESS_DEPENDENT
    return address_dependent and transport.mapping is Mapping.ENDPOINT_INDEPENDENT


def _seed(router: int, plane: str, declared: int) -> int:
    """By what one protocol's ports are chosen: the router's seed and the profile's, in 32 bits."""
    words = f"{router}/{plane}/{declared}".encode()
    return int.from_bytes(hashlib.sha256(words).digest()[:4])


def _free(behaviour: Behaviour, protocol: Protocol, plane: str, forwarded: list[int]) -> str:
    """The match for a source port that no mapping, learned or explicit, and no forward holds."""
    free = f"{protocol} sport != @owned_{plane}"
    if _reserves(behaviour):
        free += f" {protocol} sport != @mapped_{protocol}"
    if forwarded:
        free += f" {protocol} sport != {{ {', '.join(map(str, forwarded))} }}"
    return free


def _reserves(behaviour: Behaviour) -> bool:
    """Does the gateway tell the NAT which ports it has mapped?  miniupnpd does not."""
    services = behaviour.port_mapping
    return services.offered and services.gateway is Gateway.TESTBED


def _key(mapping: Mapping, endpoint: str, address: str, port: str) -> str:
    """What a mapping depends on: the LAN endpoint and, by RFC 4787 4.1, the remote."""
    parts = {
        Mapping.ENDPOINT_INDEPENDENT: (endpoint,),
        Mapping.ADDRESS_DEPENDENT: (endpoint, address),
        Mapping.ADDRESS_AND_PORT_DEPENDENT: (endpoint, address, port),
    }[mapping]
    return " . ".join(parts)


def _ways(protocol: Protocol, mapping: Mapping) -> Iterator[dict[str, Any]]:
    """How to read a flow off a packet: who began it, and which way the packet goes.

    Outbound ones are seen behind srcnat, so the packet's source port is the
    external one and conntrack knows the LAN endpoint; inbound ones are seen
    behind dstnat, where it is the other way round.
    """
    for name, direction in (("out", "original"), ("back", "reply")):
        endpoint = f"ct {direction} ip saddr . ct {direction} proto-src"
        yield {
            "name": name,
            "own": direction == "original",  # begun by the LAN host, not let in
            "outbound": True,
            "direction": direction,
            "port": f"{protocol} sport",
            "endpoint": endpoint,
            "address": f"ct {direction} ip saddr",
            "remote": "ip daddr",
            "key": _key(mapping, endpoint, "ip daddr", f"{protocol} dport"),
        }
    for name, direction in (("in", "reply"), ("let_in", "original")):
        endpoint = f"ip daddr . {protocol} dport"
        yield {
            "name": name,
            "own": direction == "reply",
            "outbound": False,
            "direction": direction,
            "port": f"ct {direction} proto-dst",
            "endpoint": endpoint,
            "address": "ip daddr",
            "remote": "ip saddr",
            "key": _key(mapping, endpoint, "ip saddr", f"{protocol} sport"),
        }


def sysctls(timeouts: Timeouts) -> Iterator[tuple[str, str]]:
    """What a router's kernel is set to besides its rules, the switch for forwarding first."""
    yield "net.ipv4.ip_forward", "1"
    # A hairpinned packet leaves where it came in: no redirect may teach a way round.
    yield "net.ipv4.conf.all.send_redirects", "0"
    yield "net.ipv4.conf.default.send_redirects", "0"
    # Every unsolicited packet gets the declared answer, not one a second.
    yield "net.ipv4.icmp_ratelimit", "0"
    seconds = {
        "udp_timeout": timeouts.udp,
        "udp_timeout_stream": timeouts.udp_stream,
        "tcp_timeout_established": timeouts.tcp_established,
        **{
            f"tcp_timeout_{state}": timeouts.tcp_transitory
            for state in ("syn_sent", "syn_recv", "fin_wait", "close_wait", "last_ack", "time_wait")
        },
        "tcp_timeout_close": min(10.0, timeouts.tcp_transitory),
    }
    for name, value in seconds.items():
        yield f"net.netfilter.nf_conntrack_{name}", str(int(value))
