"""Rules as text: what is refused by name, and what a text must hold."""

import dataclasses
import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from itertools import product

import pytest

from testbed.errors import ProfileError
from testbed.lab.services.gateway.settings import read
from testbed.model.behaviour import (
    Allocation,
    Behaviour,
    Exposed,
    Filtering,
    Forward,
    Gateway,
    Hairpin,
    Mapping,
    Pooling,
    PortMapping,
    PortRange,
    Protocol,
    Refresh,
    Timeouts,
    Transport,
    Unsolicited,
    WanInput,
)
from testbed.model.plan import Engine
from testbed.model.profile import Profile
from testbed.model.refusal import UNKNOWN, Refusal
from testbed.nat.load import catalogue, find
from testbed.nat.rules import RouterContext, check, hooks, render

CONTEXT = RouterContext(
    wan="outer0",
    lan="inner0",
    external=(IPv4Address("29.0.0.2"), IPv4Address("29.0.0.3")),
    inside=IPv4Network("10.0.0.0/24"),
    lan_hosts=(IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3")),
)
NFT, IPT = Engine.NFTABLES, Engine.IPTABLES
LINUX = Transport(overloading=True)
NONE = Transport(mapping=Mapping.NONE)
NONE_ADF = Transport(mapping=Mapping.NONE, filtering=Filtering.ADDRESS_DEPENDENT)
PCP = PortMapping(pcp=True)
APDM = Mapping.ADDRESS_AND_PORT_DEPENDENT


def profile(engine: Engine, **fields: object) -> Profile:
    if engine is IPT:
        fields = {"udp": LINUX, "tcp": LINUX, **fields}
    return Profile("odd", "", "", "", engine, Behaviour(**fields))  # type: ignore[arg-type]


def text(made: Profile) -> str:
    ((engine, rules),) = render(made, CONTEXT).texts
    assert engine is made.engine
    return rules


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_every_profile_of_the_catalogue_renders_for_its_router_alone(name: str) -> None:
    made = find(name)
    rules = text(made)
    assert '"outer0"' in rules or "-i outer0" in rules
    assert ("29.0.0.3" in rules) == (made.behaviour.pooling is not None)
    assert ("29.0.0.2" in rules) or not made.behaviour.translates or made.engine is IPT
    assert rules.endswith("\n")
    assert render(made, CONTEXT) == render(made, CONTEXT)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (profile(NFT, udp=NONE), "mapping none for one protocol only"),
        (profile(NFT, udp=NONE, tcp=NONE, hairpin=Hairpin.EXTERNAL_SOURCE), "hairpin with mapping"),
        (profile(NFT, udp=NONE, tcp=NONE, quota=3), "quota or forwards with mapping none"),
        (profile(NFT, udp=NONE, tcp=NONE, refresh=Refresh.OUTBOUND), "refresh = outbound"),
        (
            profile(NFT, udp=NONE_ADF, tcp=NONE),
            "address_dependent filtering with mapping none",
        ),
        (profile(NFT, udp=NONE, tcp=NONE, port_mapping=PCP), "port_mapping with mapping none"),
        (
            profile(NFT, refresh=Refresh.OUTBOUND, port_mapping=PCP),
            "port_mapping with refresh = outbound",
        ),
        (
            profile(NFT, port_mapping=PortMapping(upnp_igd=1, min_lease=9, max_lease=9)),
            "leases of at least 9 s and at most 9 s",
        ),
        (
            profile(
                NFT,
                port_mapping=PortMapping(pcp=True, min_lease=121, gateway=Gateway.MINIUPNPD),
            ),
            "PCP's leases of 120 s",
        ),
        (
            profile(NFT, port_mapping=PortMapping(upnp_igd=2, gateway=Gateway.MINIUPNPD)),
            "miniupnpd has port_mapping.mapped_outward = false",
        ),
        (
            profile(NFT, port_mapping=PortMapping(upnp_igd=2, permanent_only=True)),
            "port_mapping.permanent_only is about a service that is not offered",
        ),
        (
            profile(NFT, port_mapping=PortMapping(nat_pmp=True, nonce=False)),
            "port_mapping.nonce is about a service that is not offered",
        ),
        (
            profile(NFT, port_mapping=PortMapping(gateway=Gateway.MINIUPNPD)),
            "port_mapping.gateway is about a service that is not offered",
        ),
        (profile(NFT, udp=Transport(unsolicited=Unsolicited.RESET)), "UDP has no reset"),
        (profile(IPT, wan_input=WanInput.ACCEPT), "wan_input = accept"),
        (
            profile(IPT, udp=Transport(mapping=APDM, overloading=True)),
            "address_and_port_dependent mapping with preserving allocation and overloading",
        ),
        (
            profile(NFT, udp=Transport(allocation=Allocation.HASHED, overloading=True)),
            "overloading with hashed",
        ),
        (profile(NFT, udp=Transport(overloading=True)), "nftables cannot express udp overloading"),
        (
            profile(NFT, udp=Transport(blocked=True, allowed_ports=(53,))),
            "blocked and allowed_ports",
        ),
        (profile(NFT, timeouts=Timeouts(udp=30, udp_stream=60)), "one UDP timer"),
        (profile(NFT, timeouts=Timeouts(tcp_transitory=0.5)), "timeouts.tcp_transitory = 0.5"),
        (
            profile(
                NFT,
                udp=Transport(unsolicited=Unsolicited.ICMP),
                tcp=Transport(unsolicited=Unsolicited.RESET),
                wan_input=WanInput.ACCEPT,
            ),
            "nftables cannot express wan_input = accept",
        ),
        (profile(NFT, forwards=(Forward(Protocol.UDP, 1, 0, 1),) * 2), "two forwards"),
        (
            profile(IPT, udp=dataclasses.replace(LINUX, filtering=Filtering.ADDRESS_DEPENDENT)),
            "iptables cannot express udp address_dependent filtering",
        ),
        (
            profile(IPT, tcp=Transport(mapping=Mapping.ADDRESS_DEPENDENT)),
            "iptables cannot express tcp address_dependent mapping",
        ),
        (profile(IPT, udp=Transport()), "preserving allocation without overloading"),
        (
            profile(IPT, udp=Transport(allocation=Allocation.RANDOM)),
            "random allocation with endpoint_independent mapping",
        ),
        (
            profile(IPT, udp=Transport(mapping=APDM, allocation=Allocation.SEQUENTIAL)),
            "sequential allocation",
        ),
        (
            profile(IPT, udp=Transport(mapping=APDM, allocation=Allocation.RANDOM, seed=4)),
            "seed 4",
        ),
        (profile(IPT, hairpin=Hairpin.INTERNAL_SOURCE), "iptables cannot express hairpin"),
        (profile(IPT, refresh=Refresh.OUTBOUND), "iptables cannot express refresh"),
        (profile(IPT, quota=1), "iptables cannot express a quota"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(made: Profile, words: str) -> None:
    with pytest.raises(ProfileError) as caught:
        check(made)
    assert words in str(caught.value)
    with pytest.raises(ProfileError):
        render(made, CONTEXT)


@pytest.mark.parametrize("engine", Engine)
def test_every_combination_of_the_transport_axes_renders_or_is_refused(engine: Engine) -> None:
    rendered = 0
    for mapping, filtering, allocation, unsolicited, overloading in product(
        Mapping, Filtering, Allocation, Unsolicited, (False, True)
    ):
        one = Transport(
            mapping, filtering, allocation, overloading=overloading, unsolicited=unsolicited
        )
        made = profile(engine, udp=one, tcp=one)
        try:
            check(made)
        except ProfileError:
            continue
        assert text(made)
        rendered += 1
    # nftables: 3 mappings x 3 filterings x 4 allocations, the firewall and the
    # plain router, each with drop and icmp; iptables: preserving, random and these two.
    assert rendered == {NFT: 2 * (36 + 2), IPT: 2 * 4}[engine]


def test_a_forward_to_a_host_that_the_lan_has_not_got_is_refused() -> None:
    made = profile(NFT, forwards=(Forward(Protocol.TCP, 4001, 5, 4001),))
    with pytest.raises(ProfileError, match="LAN host 5, but the LAN has 2"):
        render(made, CONTEXT)


def test_the_timers_are_conntracks_too_in_whole_seconds() -> None:
    sysctls = dict(render(find("linux-home"), CONTEXT).sysctls)
    assert sysctls["net.netfilter.nf_conntrack_udp_timeout"] == "30"
    assert sysctls["net.netfilter.nf_conntrack_udp_timeout_stream"] == "120"
    assert sysctls["net.netfilter.nf_conntrack_tcp_timeout_syn_sent"] == "120"
    assert sysctls["net.netfilter.nf_conntrack_tcp_timeout_established"] == "432000"
    assert sysctls["net.ipv4.ip_forward"] == "1"


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_every_packet_that_is_dropped_or_rejected_has_a_counted_reason(name: str) -> None:
    for line in text(find(name)).splitlines():
        if "policy" in line or line.startswith(":"):
            continue
        if any(word in line for word in ("drop comment", "reject with", "-j DROP", "-j REJECT")):
            assert "comment" in line
            assert "counter" in line or line.startswith("-A")


def test_the_mapping_is_learned_behind_srcnat_in_a_filter_chain() -> None:
    rules = text(find("eim-eif"))
    assert "type filter hook postrouting priority 110" in rules
    nat = rules[rules.index("chain srcnat") : rules.index("chain mappings")]
    assert "update" not in nat


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_only_a_profile_with_services_has_hooks_for_them(name: str) -> None:
    made = find(name)
    offered = made.behaviour.port_mapping.offered
    found = hooks(made, CONTEXT)
    assert (found is not None) is offered
    marked = offered or made.behaviour.exposed is not Exposed.NONE
    assert ("ct mark 4294967294 return" in text(made)) is (marked and made.engine is NFT)
    if found:
        assert 'iifname "outer0" jump mapped' in found.chains
        assert found.gateway is made.behaviour.port_mapping.gateway
        if found.gateway is Gateway.MINIUPNPD:
            assert "ext_ifname=outer0\nlistening_ip=inner0\n" in found.config
        else:
            settings = read(found.config)
            assert (settings.wan, settings.lan) == ("outer0", "inner0")
            assert bool(settings.reserved) is (made.engine is NFT)


@pytest.mark.parametrize(
    ("services", "on", "filtered"),
    [
        (PortMapping(upnp_igd=1), {"enable_upnp=yes", "force_igd_desc_v1=yes"}, None),
        (PortMapping(upnp_igd=2), {"enable_upnp=yes", "force_igd_desc_v1=no"}, None),
        (PortMapping(nat_pmp=True), {"enable_upnp=no", "enable_natpmp=yes"}, "@th,64,8 != 0 "),
        (PCP, {"enable_natpmp=yes", "secure_mode=yes", "min_lifetime=120"}, "@th,64,8 0 "),
        (PortMapping(nat_pmp=True, pcp=True, secure_mode=False), {"secure_mode=no"}, None),
    ],
)
def test_the_daemon_is_told_what_the_profile_declares(
    services: PortMapping, on: set[str], filtered: str | None
) -> None:
    services = replace(services, gateway=Gateway.MINIUPNPD)
    found = hooks(profile(NFT, port_mapping=services), CONTEXT)
    assert found
    assert on <= set(found.config.splitlines())
    assert ("service-off" in found.chains) is (filtered is not None)
    assert filtered is None or filtered in found.chains


COMMENT = re.compile(r'comment "([a-z-]+)"')


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_what_rules_refuse_is_told_as_values_that_are_those_of_the_text(name: str) -> None:
    made = find(name)
    refuses, rules = render(made, CONTEXT).refuses, text(made)
    named = {Refusal(word) for word in COMMENT.findall(rules)}
    if not re.search(r"(?:goto|-j) unsolicited\b", rules, re.IGNORECASE):
        named.discard(Refusal.UNSOLICITED)
    assert refuses.reasons == named
    limits = re.findall(r'(?:dport != \{|--dports) ([\d, ]+).*"(\w+)-port-blocked"', rules)
    ports = {protocol: {int(port) for port in listed.split(",")} for listed, protocol in limits}
    assert dict(refuses.allowed_ports) == ports
    hairpin = r'iifname "inner0" (?:ip daddr \S+ )?meta l4proto \w+ dnat'
    assert refuses.hairpins is bool(re.search(hairpin, rules))


def test_rules_of_nobodys_profile_refuse_nothing_that_is_known() -> None:
    assert UNKNOWN.reasons == frozenset()
    assert UNKNOWN.ports("udp") is None


@pytest.mark.parametrize(
    ("refused", "expected"),
    [
        (profile(NFT, udp=NONE, tcp=NONE, pooling=Pooling.PAIRED), "no external address"),
        (
            profile(NFT, pooling=Pooling.ARBITRARY, udp=Transport(allocation=Allocation.HASHED)),
            "udp: hashed allocation with arbitrary pooling",
        ),
        (
            profile(IPT, pooling=Pooling.ARBITRARY, udp=Transport(overloading=True)),
            "iptables cannot express arbitrary pooling with endpoint_independent mapping",
        ),
    ],
)
def test_a_pool_that_rules_cannot_hold_is_refused(refused: Profile, expected: str) -> None:
    with pytest.raises(ProfileError, match=expected):
        check(refused)


def test_rules_name_each_address_of_a_pool_and_no_more_than_nft_loads() -> None:
    pooled = profile(NFT, pooling=Pooling.PAIRED)
    external = tuple(IPv4Address(f"29.0.0.{n}") for n in range(2, 7))
    ((_, text),) = render(pooled, replace(CONTEXT, external=external[:4])).texts
    assert all(f"snat ip to {address}" in text for address in external[:4])
    ((_, alone),) = render(profile(NFT), replace(CONTEXT, external=external)).texts
    assert not any(f"snat ip to {address}" in alone for address in external[1:])
    with pytest.raises(ProfileError, match="a pool of 4 external addresses, and the router has 5"):
        render(pooled, replace(CONTEXT, external=external))


def test_a_range_that_can_be_used_up_is_tried_whole() -> None:
    for last, walks in ((1031, 1), (1041, 2), (2047, 64), (2048, 0)):
        few = Transport(allocation=Allocation.RANDOM, ports=PortRange(1024, last))
        ((_, text),) = render(profile(NFT, udp=few), CONTEXT).texts
        assert text.count("jump walk_udp") == walks, last
