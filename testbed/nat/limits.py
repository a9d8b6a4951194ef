"""Which profiles no rule set can hold, each refusal naming the combination."""

from collections.abc import Iterator
from dataclasses import fields

from testbed.model.behaviour import (
    Allocation,
    Behaviour,
    Exposed,
    Filtering,
    Gateway,
    Hairpin,
    Mapping,
    Pooling,
    PortMapping,
    Protocol,
    Refresh,
    Transport,
    Unsolicited,
    WanInput,
)
from testbed.model.plan import Engine
from testbed.model.profile import Profile

MINIUPNPD = {  # measured of version 2.3.1; `nat certify` holds each profile to its own
    "mapped_outward": False,
    "first_mapping_kept": False,
    "prefer_failure": False,
    "nonce": False,
    "any_port": True,
    "static_lease": False,
    "permanent_only": False,
    "absent_refused": False,
    "private_wan": False,
    "version_errors": False,  # the router drops what its one protocol does not take
    "forwards": True,
    "address_known": True,
    "epoch_counts": True,
}
WALKED = 1024  # of a range up to this size, a new mapping gets a port as long as one is free
_PCP_LEASE = 120  # seconds: where miniupnpd ends its own minimum for PCP
# What a host has that has an external address to itself.
_BASIC = (
    Mapping.ENDPOINT_INDEPENDENT,
    Filtering.ENDPOINT_INDEPENDENT,
    Allocation.PRESERVING,
)
Refusal = tuple[str, str | None]  # message, remedy


def refusals(profile: Profile) -> Iterator[Refusal]:
    """Every reason not to render ``profile``: contradictions first, then the engine's limits."""
    yield from _contradictions(profile.behaviour)
    yield from _limits(profile)


def _contradictions(behaviour: Behaviour) -> Iterator[Refusal]:
    """Declarations that contradict each other, whatever the engine."""
    if Mapping.NONE in (behaviour.udp.mapping, behaviour.tcp.mapping):
        yield from _firewall_contradictions(behaviour)
    if behaviour.udp.unsolicited is Unsolicited.RESET:
        yield "udp.unsolicited = reset: UDP has no reset", "use icmp or drop"
    answers = (behaviour.udp.unsolicited, behaviour.tcp.unsolicited)
    if behaviour.wan_input is WanInput.ACCEPT and answers != (Unsolicited.ICMP, Unsolicited.RESET):
        yield (
            "wan_input = accept lets the router's kernel answer what nobody asked for",
            "declare udp.unsolicited = icmp and tcp.unsolicited = reset",
        )
    for protocol in Protocol:
        yield from _transport_contradictions(protocol, behaviour.transport(protocol))
    yield from _gateway_refusals(behaviour.port_mapping)
    if behaviour.pooling is not None:
        yield from _pool_refusals(behaviour)
    if behaviour.exposed is not Exposed.NONE:
        yield from _exposed_refusals(behaviour)
    ports = [(f.protocol, f.external_port) for f in behaviour.forwards]
    if len(set(ports)) < len(ports):
        yield "two forwards of one external port", None


def _pool_refusals(behaviour: Behaviour) -> Iterator[Refusal]:
    """Where addresses are pooled, ports and services say less than they would of one."""
    if not behaviour.translates:
        yield "pooling with mapping none: there is no external address", None
    if behaviour.port_mapping.offered:
        yield "pooling and port_mapping: a service tells one external address", None
    for protocol in Protocol:
        transport = behaviour.transport(protocol)
        kept = transport.allocation is Allocation.PRESERVING
        if not kept and transport.ports.size <= WALKED:
            yield f"{protocol}: pooling with {transport.ports.size} ports of each address", None
        in_turn = (Allocation.HASHED, Allocation.SEQUENTIAL)
        if behaviour.pooling is Pooling.ARBITRARY and transport.allocation in in_turn:
            yield (
                f"{protocol}: {transport.allocation} allocation with arbitrary pooling: each "
                "address has its own order of ports",
                "use preserving or random",
            )


def _exposed_refusals(behaviour: Behaviour) -> Iterator[Refusal]:
    """What a LAN host cannot be exposed beside."""
    what = f"exposed = {behaviour.exposed}"
    if not behaviour.translates:
        yield f"{what} with mapping none: everybody knows the hosts' own addresses", None
    if behaviour.refresh is Refresh.OUTBOUND:
        yield (
            f"{what} with refresh = outbound: what no mapping lets in is not tracked",
            f"declare refresh = {Refresh.BOTH}",
        )
    for protocol in Protocol:
        transport = behaviour.transport(protocol)
        if transport.blocked or transport.allowed_ports:
            yield f"{what} with {protocol} kept in: the host's answers do not get out", None
    if behaviour.exposed is Exposed.EACH_HOST:
        yield from _one_to_one_refusals(behaviour, what)
    elif behaviour.pooling is not None:
        yield f"{what} with pooling: there is one address that leads to it", None


def _one_to_one_refusals(behaviour: Behaviour, what: str) -> Iterator[Refusal]:
    """What a host cannot have that has an external address to itself."""
    if behaviour.pooling is not Pooling.PAIRED:
        yield f"{what} without an address for each host", f"declare pooling = {Pooling.PAIRED}"
    if behaviour.forwards or behaviour.quota is not None:
        yield f"{what} with forwards or a quota: a host has all ports of its address", None
    for protocol in Protocol:
        transport = behaviour.transport(protocol)
        kind = (transport.mapping, transport.filtering, transport.allocation)
        if kind != _BASIC:
            yield (
                f"{what} with {protocol} ports that are translated or filtered",
                f"declare {_BASIC[0]} mapping and filtering, and {_BASIC[2]} allocation",
            )


def _gateway_refusals(services: PortMapping) -> Iterator[Refusal]:
    """Words without effect, and what miniupnpd does otherwise."""
    lowest, highest = services.min_lease, services.max_lease
    if lowest >= highest:
        yield f"port_mapping: leases of at least {lowest} s and at most {highest} s", None
    has = applicable(services)
    for field in fields(services):
        value = getattr(services, field.name)
        if not has.get(field.name, True) and value != field.default:
            yield (
                f"port_mapping.{field.name} is about a service that is not offered",
                "leave it out",
            )
    if services.gateway is not Gateway.MINIUPNPD:
        return
    if services.pcp and lowest > _PCP_LEASE:
        yield f"miniupnpd grants PCP's leases of {_PCP_LEASE} s, min_lease is {lowest} s", None
    for name, value in MINIUPNPD.items():
        if has[name] and getattr(services, name) is not value:
            yield (
                f"miniupnpd has port_mapping.{name} = {str(value).lower()}",
                f'declare it, or gateway = "{Gateway.TESTBED}"',
            )


def applicable(services: PortMapping) -> dict[str, bool]:
    """Of each axis that not every service has: do those that are offered have it?"""
    datagrams, upnp = services.nat_pmp or services.pcp, services.upnp_igd > 0
    return {
        "gateway": services.offered,
        "mapped_outward": services.offered,
        "private_wan": services.offered,
        "forwards": services.offered,
        "address_known": services.offered,
        "epoch_counts": datagrams,
        "version_errors": services.nat_pmp != services.pcp,
        "first_mapping_kept": services.nat_pmp,
        "prefer_failure": services.pcp,
        "nonce": services.pcp,
        "any_port": services.upnp_igd == 1,
        "static_lease": services.upnp_igd == 1,
        "permanent_only": services.upnp_igd == 1,
        "absent_refused": upnp,
    }


def _firewall_contradictions(behaviour: Behaviour) -> Iterator[Refusal]:
    """What a router that only filters has not got."""
    if behaviour.udp.mapping is not behaviour.tcp.mapping:
        yield "mapping none for one protocol only", "translate both or neither"
    if behaviour.hairpin is not Hairpin.NONE:
        yield "hairpin with mapping none: there is no external endpoint to send to", None
    if behaviour.quota is not None or behaviour.forwards:
        yield "quota or forwards with mapping none: there are no mappings", None
    if behaviour.port_mapping.offered:
        yield "port_mapping with mapping none: there are no ports to map", None


def _transport_contradictions(protocol: Protocol, transport: Transport) -> Iterator[Refusal]:
    if transport.mapping is Mapping.NONE:
        if transport.filtering is Filtering.ADDRESS_DEPENDENT:
            yield (
                f"{protocol}: {transport.filtering} filtering with mapping none: a stateful "
                "firewall lets in replies alone, a plain router everything",
                f"use {Filtering.ADDRESS_AND_PORT_DEPENDENT} or {Filtering.ENDPOINT_INDEPENDENT}",
            )
        if transport.allocation is not Allocation.PRESERVING or transport.overloading:
            yield f"{protocol}: port allocation with mapping none: there are no mappings", None
        return
    if transport.overloading and transport.allocation is not Allocation.PRESERVING:
        yield f"{protocol}: overloading with {transport.allocation} allocation", "use preserving"
    if transport.overloading and transport.mapping is not Mapping.ENDPOINT_INDEPENDENT:
        yield (
            f"{protocol}: {transport.mapping} mapping with preserving allocation and overloading "
            "is endpoint_independent from outside",
            "declare overloading = false or endpoint_independent mapping",
        )
    if transport.blocked and transport.allowed_ports:
        yield f"{protocol}: blocked and allowed_ports at once", None


def _limits(profile: Profile) -> Iterator[Refusal]:
    """What this engine cannot express."""
    behaviour = profile.behaviour
    for name, seconds in vars(behaviour.timeouts).items():
        if seconds < 1 or seconds != int(seconds):
            yield f"timeouts.{name} = {seconds}: conntrack counts in whole seconds from 1", None
    if profile.engine is Engine.NFTABLES:
        yield from _limits_nftables(behaviour)
    else:
        yield from _limits_iptables(behaviour)


def _limits_nftables(behaviour: Behaviour) -> Iterator[Refusal]:
    iptables = f'use engine = "{Engine.IPTABLES}"'
    if behaviour.translates and behaviour.timeouts.udp != behaviour.timeouts.udp_stream:
        yield (
            "the nftables mapping table has one UDP timer: timeouts.udp and udp_stream differ",
            f"declare them equal or {iptables}",
        )
    if behaviour.translates and behaviour.wan_input is WanInput.ACCEPT:
        yield "nftables cannot express wan_input = accept: its ports never move away", iptables
    for protocol in Protocol:
        if behaviour.transport(protocol).overloading:
            yield (
                f"nftables cannot express {protocol} overloading: its ports have one owner",
                iptables,
            )
    if behaviour.port_mapping.offered and behaviour.refresh is Refresh.OUTBOUND:
        yield (
            "nftables cannot express port_mapping with refresh = outbound: what no mapping of its "
            "own lets in is not tracked",
            f"declare refresh = {Refresh.BOTH}",
        )
    if not behaviour.translates and behaviour.refresh is Refresh.OUTBOUND:
        yield "a firewall without mappings cannot express refresh = outbound", None


def _limits_iptables(behaviour: Behaviour) -> Iterator[Refusal]:
    remedy = f'use engine = "{Engine.NFTABLES}"'
    own = behaviour.exposed is Exposed.EACH_HOST  # then addresses are all that is translated
    for protocol in () if own else Protocol:
        for what in _beyond_iptables(behaviour.transport(protocol)):
            yield f"iptables cannot express {protocol} {what}", remedy
    if behaviour.hairpin is not Hairpin.NONE:
        yield f"iptables cannot express hairpin {behaviour.hairpin}", remedy
    if behaviour.refresh is Refresh.OUTBOUND:
        yield "iptables cannot express refresh = outbound", remedy
    if behaviour.pooling is Pooling.ARBITRARY and any(
        behaviour.transport(p).mapping is Mapping.ENDPOINT_INDEPENDENT for p in Protocol
    ):
        yield "iptables cannot express arbitrary pooling with endpoint_independent mapping", remedy
    if behaviour.quota is not None:
        yield "iptables cannot express a quota of mappings", remedy


def _beyond_iptables(transport: Transport) -> Iterator[str]:
    if transport.mapping is Mapping.NONE:
        return
    if transport.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT:
        yield f"{transport.filtering} filtering"
    if transport.mapping is Mapping.ENDPOINT_INDEPENDENT:
        if transport.allocation is not Allocation.PRESERVING:
            yield f"{transport.allocation} allocation with endpoint_independent mapping"
        elif not transport.overloading:
            yield "preserving allocation without overloading"
    elif transport.mapping is Mapping.ADDRESS_DEPENDENT:
        yield "address_dependent mapping"
    elif transport.allocation is not Allocation.RANDOM:
        yield f"{transport.allocation} allocation with address_and_port_dependent mapping"
    if transport.ports.size <= WALKED:
        yield (
            f"a pool of {transport.ports.size} ports: it has each of them once for each destination"
        )
    if transport.seed:
        yield f"seed {transport.seed}: its random ports cannot be replayed"
