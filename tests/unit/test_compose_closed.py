"""Where a router of a project is measured from, and what of a project is no way out."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from testbed.certify.prober.bench import LAN, ROUTER, SERVER, STRANGER
from testbed.compose.bench import Bench, benches
from testbed.compose.certify import unsaid
from testbed.compose.closed import networks
from testbed.compose.project import RESOLVER, layout
from testbed.compose.running import Container, Plug, as_wired
from testbed.compose.source import Source
from testbed.errors import BackendError
from testbed.model.behaviour import Behaviour
from testbed.model.plan import AddBridge, AddLink, Plan
from testbed.nat.load import find

INHIBITED = {"com.docker.network.bridge.inhibit_ipv4": "true"}


class Engine:
    """Of the SDK's client what tells of networks."""

    def __init__(self, plan: Plan, **changed: object) -> None:
        own = {node: {"Name": node} for node in layout(plan).services}
        self._told = {"Internal": True, "Options": INHIBITED, "Containers": own} | changed

    def inspect_network(self, _: str) -> dict[str, object]:
        return self._told


def up(plan: Plan) -> dict[str, Container]:
    """What an engine that numbers containers by their nodes tells of the project."""
    return {
        node: Container(
            node,
            node,
            tuple(Plug(name, ip, "02:00") for name, ip in service.networks.items()),
            (RESOLVER,),
        )
        for node, service in layout(plan).services.items()
    }


def benches_of(topology: str, *profiles: str) -> list[Bench]:
    source = Source(topology, profiles)
    return benches(source.plan(), up(source.plan()))


def test_a_network_as_rendered_is_no_way_out() -> None:
    plan = Source("two-homes", ()).plan()
    assert list(networks(Engine(plan), up(plan))) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"Internal": False}, "is not internal"),
        ({"Options": None}, "the host may have an address"),
        ({"Containers": {"x": {"Name": "x"}}}, "x is on nat-a-wan, and of no node"),
    ],
)
def test_every_way_out_of_a_network_is_named(changed: dict[str, object], said: str) -> None:
    plan = Source("two-homes", ()).plan()
    assert any(said in finding for finding in networks(Engine(plan, **changed), up(plan)))


def test_a_wired_plan_has_no_port_of_a_bridge() -> None:
    plan = as_wired(Source("same-lan", ()).plan())
    ends = {(end.node, end.ifname) for link in plan.of(AddLink) for end in (link.a, link.b)}
    assert ("nat-a", "lan0") not in ends
    assert [bridge.ifname for bridge in plan.of(AddBridge)] == ["lan"]
    assert all(link.transparent for link in plan.of(AddLink))


@pytest.mark.parametrize("topology", ["two-homes", "same-lan", "carrier", "libp2p", "probe-bench"])
def test_every_router_has_a_bench_and_no_two_guests_share_an_address(topology: str) -> None:
    made = benches_of(topology)
    plan = Source(topology, ()).plan()
    assert [bench.router.name for bench in made] == [r.name for r in plan.topology.routers]
    guests = [one.ip for bench in made for guest in bench.guests for one in guest.addresses]
    assert len(guests) == len(set(guests))
    assert not set(guests) & plan.owners.keys()
    for bench in made:
        assert set(bench.places()) == {ROUTER, SERVER, STRANGER, *LAN}
        assert len(bench.plan.addresses[SERVER]) == 2


def test_forwards_lead_to_the_projects_own_host_and_its_mappings_are_counted() -> None:
    forwarding, counting = benches_of("two-homes", "port-forward", "carrier-grade")
    assert forwarding.hosts == {"a": "a"}
    assert counting.hosts == {"b": "b"}
    assert counting.metered


def test_behind_a_carrier_no_host_of_the_projects_is_metered() -> None:
    cgn, *_ = benches_of("carrier")
    assert not cgn.hosts
    assert not cgn.metered


def test_a_full_network_has_no_room_for_guests() -> None:
    source = Source("two-homes", ())
    plan = source.plan()
    wan = plan.address("nat-a")
    crowd = {wan + number: "somebody" for number in range(64)}
    with pytest.raises(BackendError, match="no room for guests"):
        benches(replace(plan, owners=crowd), up(plan))


def test_an_interface_that_the_engine_does_not_know_is_an_error() -> None:
    with pytest.raises(BackendError, match="knows no interface with"):
        Container("a", "a", (), ()).plug(IPv4Address("10.0.0.1"))


def test_only_what_waits_and_what_no_host_counts_is_left_out() -> None:
    scattered, plain = find("symmetric").behaviour, find("linux-home").behaviour
    assert unsaid(plain, metered=False, waits=True) == []
    assert unsaid(Behaviour(quota=3), metered=True, waits=True) == []
    assert unsaid(Behaviour(quota=3), metered=False, waits=True) == ["udp.quota", "tcp.quota"]
    assert {"refresh", "timeout_udp"} <= set(unsaid(plain, metered=True, waits=False))
    assert "udp.allocation" in unsaid(scattered, metered=True, waits=False)
    assert "udp.allocation" not in unsaid(plain, metered=True, waits=False)
