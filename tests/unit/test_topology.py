"""Topologies refuse what cannot be built, and find the way out of a LAN."""

from typing import Any

import pytest

from testbed.errors import TopologyError, UsageError
from testbed.model.presets import ACCESS, PRESETS, carrier, preset, two_homes
from testbed.model.topology import INTERNET, Host, Impairment, Network, Router, Scope, Topology

PUBLIC = Network(INTERNET, Scope.PUBLIC)
LAN = Network("lan", Scope.PRIVATE)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_valid_topology(name: str) -> None:
    topology = preset(name)
    assert topology.name == name
    assert topology.host(topology.roles.relay)


def test_the_way_out_leads_through_both_nats_of_a_carrier_subscriber() -> None:
    assert [r.name for r in carrier().path_out("a")] == ["nat-a", "cgn"]
    assert carrier().path_out("server") == ()


def test_the_default_internet_has_20_ms_one_way() -> None:
    topology = two_homes()
    a, b = topology.routers
    assert a.link.up.delay_ms + b.link.down.delay_ms == 20


def test_the_libp2p_lab_has_four_observers_besides_the_server() -> None:
    topology = preset("libp2p", "full-cone", "symmetric")
    public = [host.name for host in topology.hosts if host.network == INTERNET]
    assert public == ["server", *(f"observer-{n}" for n in range(1, 5))]
    assert {host.link for host in topology.hosts if host.network == INTERNET} == {ACCESS}
    assert topology.routers == two_homes("full-cone", "symmetric").routers


def test_two_nodes_of_one_name_are_refused() -> None:
    with pytest.raises(TopologyError, match="two nodes are called 'a'"):
        Topology("x", (PUBLIC,), (), (Host("a", INTERNET), Host("a", INTERNET)))


def test_a_host_on_an_unknown_network_is_refused_by_name() -> None:
    with pytest.raises(TopologyError, match=r"\[a\]: unknown network 'lan'"):
        Topology("x", (PUBLIC,), (), (Host("a", "lan"),))


def test_a_lan_without_a_router_is_refused() -> None:
    with pytest.raises(TopologyError, match="exactly one router"):
        Topology("x", (PUBLIC, LAN), (), (Host("a", "lan"),))


def test_routers_in_a_circle_are_refused() -> None:
    other = Network("other", Scope.PRIVATE)
    routers = (Router("r", "lan", "other", "p"), Router("s", "other", "lan", "p"))
    with pytest.raises(TopologyError, match="circle"):
        Topology("x", (PUBLIC, LAN, other), routers, ())


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 33, "-wires "])
def test_a_name_that_could_break_a_path_or_interface_is_refused(name: str) -> None:
    with pytest.raises(TopologyError):
        Topology("x", (PUBLIC,), (), (Host(name, INTERNET),))


@pytest.mark.parametrize(
    "wrong", [{"delay_ms": -1}, {"jitter_ms": 1}, {"loss": 1.5}, {"rate_mbit": 0}]
)
def test_an_impossible_impairment_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TopologyError):
        Impairment(**wrong)


def test_an_unknown_preset_and_too_many_profiles_are_refused() -> None:
    with pytest.raises(UsageError, match="unknown topology"):
        preset("nowhere")
    with pytest.raises(UsageError, match="takes 1 NAT"):
        preset("same-lan", "a", "b")
