"""Planning is pure, deterministic, and gives parallel labs nothing in common."""

import re
from ipaddress import IPv4Network
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import ProfileError, TopologyError
from testbed.model.plan import (
    AddBridge,
    AddLink,
    AddNeighbour,
    AddRoute,
    Blackhole,
    LoadRules,
    Plan,
)
from testbed.model.presets import BARE, PRESETS, preset, two_homes
from testbed.model.topology import INTERNET, Host, Network, Router, Scope, Topology
from testbed.nat.limits import WALKED
from testbed.nat.load import catalogue
from testbed.plan.describe import describe
from testbed.plan.planner import plan

CATALOGUE = catalogue()


def planned(name: str = "two-homes", number: int = 0) -> Plan:
    return plan(preset(name), CATALOGUE, number)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_planned_and_described(name: str) -> None:
    steps = planned(name)
    words = describe(steps)
    for node in steps.addresses:
        assert node in words


def test_the_same_lab_is_planned_the_same() -> None:
    assert describe(planned()) == describe(planned())


@pytest.mark.parametrize("name", PRESETS)
def test_labs_of_different_numbers_share_no_address(name: str) -> None:
    labs = [planned(name, number) for number in (0, 1, 3, 4, 255)]
    seen = [set(lab.owners) for lab in labs]
    assert sum(map(len, seen)) == len(set().union(*seen))


@pytest.mark.parametrize("name", PRESETS)
def test_hosts_that_no_nat_translates_have_addresses_that_stacks_take_for_public(
    name: str,
) -> None:
    steps = planned(name)
    for host in steps.topology.hosts:
        way = steps.topology.path_out(host.name)
        translated = any(CATALOGUE[router.profile].behaviour.translates for router in way)
        assert steps.address(host.name).is_global == (not translated)


@pytest.mark.parametrize("name", PRESETS)
def test_the_core_has_no_route_but_to_public_addresses(name: str) -> None:
    steps = planned(name)
    public = IPv4Network("29.0.0.0/8")
    cores = steps.topology.cores
    routes = [step for step in steps.of(AddRoute) if step.node in cores]
    assert all(route.destination.subnet_of(public) for route in routes)
    links = [link for link in steps.of(AddLink) if link.b.node in cores]
    assert all(a.network.subnet_of(public) for link in links for a in link.b.addresses)
    assert [(step.node, step.destination.prefixlen) for step in steps.of(Blackhole)] == [
        (core, 0) for core in cores
    ]


def test_behind_a_firewall_without_nat_the_hosts_have_public_addresses() -> None:
    steps = plan(two_homes("firewall", "symmetric"), CATALOGUE)
    assert steps.address("a").is_global
    assert not steps.address("b").is_global


def test_every_wire_has_its_neighbours_set_for_good() -> None:
    steps = planned("lan-party")
    knows = {(step.node, step.address) for step in steps.of(AddNeighbour)}
    assert ("a", steps.address("b")) in knows
    assert ("a", steps.internal["nat-a"]) in knows
    assert ("core", steps.address("nat-a")) in knows


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_no_two_routers_of_a_lab_have_one_seed_and_no_two_labs(name: str, seed: int) -> None:
    topology = preset(name)
    own, other = (plan(topology, CATALOGUE, seed=each).seeds for each in (seed, seed + 1))
    assert own.keys() == {router.name for router in topology.routers}
    assert len({*own.values(), *other.values()}) == len(own) + len(other)


@pytest.mark.parametrize("name", PRESETS)
def test_no_two_nodes_of_a_lab_share_a_port_or_a_host_part(name: str) -> None:
    """Who takes one end's port, or the end of its address, for the other's must fail."""
    steps = planned(name, number=5)
    hosts = [host.name for host in steps.topology.hosts]
    assert len({steps.port(host) for host in hosts}) == len(hosts)
    networks = [a for link in steps.of(AddLink) for end in (link.a, link.b) for a in end.addresses]
    networks += [a for bridge in steps.of(AddBridge) for a in bridge.addresses]
    prefix = {address.ip: address.network for address in networks}
    own = [ip for addresses in steps.addresses.values() for ip in addresses]
    parts = [int(ip) - int(prefix[ip].network_address) for ip in own]
    assert len(set(parts)) == len(parts)
    assert len({int(ip) % 256 for ip in own}) == len(own)


@given(st.lists(st.none() | st.integers(1, 65535), min_size=1, max_size=40))
def test_hosts_have_the_ports_that_were_named_and_share_none(ports: list[int | None]) -> None:
    hosts = tuple(Host(f"h{n}", INTERNET, port=port) for n, port in enumerate(ports))
    named = [port for port in ports if port is not None]
    if len(set(named)) < len(named):
        with pytest.raises(TopologyError, match="has port"):
            Topology("any", two_homes().networks[:1], (), hosts)
        return
    topology = Topology("any", two_homes().networks[:1], (), hosts)
    given_to = [topology.port(host.name) for host in hosts]
    assert len(set(given_to)) == len(hosts)
    assert all(port in (None, own) for port, own in zip(ports, given_to, strict=True))


@pytest.mark.parametrize("name", [n for n, p in CATALOGUE.items() if p.engine == "nftables"])
def test_two_nats_of_one_profile_do_not_choose_ports_alike(name: str) -> None:
    """Of one profile, they are told apart by their addresses and their choices alone."""
    steps = plan(two_homes(name, name), CATALOGUE)
    one, other = (_choices(step.text) for step in steps.of(LoadRules))
    behaviour = CATALOGUE[name].behaviour
    if min(behaviour.udp.ports.size, behaviour.tcp.ports.size) <= WALKED:
        assert one != other  # of so few ports two may begin with the same, by one protocol
        return
    assert len(one) == len(other)
    assert one.isdisjoint(other)


def _choices(rules: str) -> set[str]:
    """Where a NAT of nftables says which port comes next."""
    hashed = re.findall(r"jhash .* mod \d+ seed \d+", rules)
    counted = re.findall(r"numgen inc mod \d+ offset \d+", rules)
    return {*hashed, *counted}


def test_rules_come_after_all_wiring() -> None:
    kinds = [type(step) for step in planned().steps]
    assert kinds.index(LoadRules) > max(i for i, kind in enumerate(kinds) if kind is AddLink)


def test_an_unknown_profile_and_a_lab_number_out_of_range_are_refused() -> None:
    with pytest.raises(ProfileError, match="unknown profile"):
        plan(two_homes("linux-home", "nonesuch"), {"linux-home": CATALOGUE["linux-home"]})
    with pytest.raises(TopologyError, match="0 to 255"):
        planned(number=256)


def test_a_lab_of_500_public_hosts_fits_into_its_addresses() -> None:
    hosts = tuple(Host(f"h{n}", INTERNET) for n in range(500))
    topology = Topology("big", two_homes().networks[:1], (), hosts)
    assert len(plan(topology, {}).addresses) == 500


def test_a_lab_of_a_thousand_nats_and_5000_nodes_shares_no_address_and_no_network() -> None:
    networks, routers, hosts = [Network(INTERNET, Scope.PUBLIC)], [], []
    for home in range(1000):
        lan = f"lan{home}"
        networks.append(Network(lan, Scope.PRIVATE))
        routers.append(Router(f"nat{home}", INTERNET, lan, "port-restricted", link=BARE))
        hosts += [Host(f"h{home}-{number}", lan) for number in range(4)]
    large = plan(Topology("large", tuple(networks), tuple(routers), tuple(hosts)), catalogue())
    ends = [end for link in large.of(AddLink) for end in (link.a, link.b)]
    lans = [bridge.addresses[0].network for bridge in large.of(AddBridge)]
    public = [end.addresses[0].network for end in ends if end.ifname == "wan"]
    assert len(set(lans)) == len(set(public)) == 1000
    assert not any(one.overlaps(other) for one, other in pairwise(sorted({*lans, *public})))
    addresses = [ip for owned in large.addresses.values() for ip in owned]
    assert len(set(addresses)) == len(addresses) == 5000


def test_a_lan_of_a_larger_lab_has_room_for_all_that_are_on_it() -> None:
    networks, routers, hosts = [Network(INTERNET, Scope.PUBLIC)], [], []
    for home, members in enumerate([1, 300, *[2] * 200]):
        networks.append(Network(f"lan{home}", Scope.PRIVATE))
        routers.append(Router(f"nat{home}", INTERNET, f"lan{home}", "port-restricted", link=BARE))
        hosts += [Host(f"h{home}-{number}", f"lan{home}") for number in range(members)]
    large = plan(Topology("large", tuple(networks), tuple(routers), tuple(hosts)), catalogue())
    owned = [ip for addresses in large.addresses.values() for ip in addresses]
    assert len(set(owned)) == len(owned)
    assert large.address("h1-299") in IPv4Network((large.internal["nat1"], 23), strict=False)
