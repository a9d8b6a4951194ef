"""A table of round trips between regions is in the lab's links and routes, and in the model."""

import pytest

from testbed.errors import TopologyError
from testbed.model.behaviour import Protocol
from testbed.model.furnishing import behaviours
from testbed.model.plan import AddLink, AddRoute, Plan
from testbed.model.topology import Impairment, Topology
from testbed.model.trace import Kind, Place
from testbed.model.world import parse
from testbed.nat.load import catalogue
from testbed.plan.planner import plan
from testbed.predict.network import Network
from testbed.predict.packet import Packet
from testbed.verdict.sanity import _round_trip_ms

CATALOGUE = catalogue()
GLOBE = """\
title = "Three regions"
source = "none: an example"

[networks]
home = "private"
hall = "private"

[links.access]
delay_ms = 5

[regions]
europe.america = 90
europe.asia = 160
asia.america = 10

[routers.nat]
wan = "internet"
lan = "home"
profile = "linux-home"
link = "access"
region = "europe"

[routers.wall]
wan = "internet"
lan = "hall"
profile = "firewall"
region = "asia"

[hosts.a]
network = "home"

[hosts.b]
network = "hall"

[hosts.server]
network = "internet"
region = "america"
"""


def globe(text: str = GLOBE) -> Topology:
    return parse(text, "globe", "globe.toml").topology("globe")


def planned() -> Plan:
    return plan(globe(), CATALOGUE)


def test_each_two_cores_have_a_wire_of_half_their_round_trip() -> None:
    wires = {
        (link.a.node, link.b.node): (link.a_to_b, link.b_to_a)
        for link in planned().of(AddLink)
        if link.a.node.startswith("core") and link.b.node.startswith("core")
    }
    assert wires == {
        ("core-europe", "core-america"): (Impairment(delay_ms=45),) * 2,
        ("core-europe", "core-asia"): (Impairment(delay_ms=80),) * 2,
        ("core-asia", "core-america"): (Impairment(delay_ms=5),) * 2,
    }


def test_every_core_goes_straight_to_every_public_network() -> None:
    made = planned()
    for name, home in (("nat", "europe"), ("b", "asia"), ("server", "america")):
        for core in {"europe", "asia", "america"} - {home}:
            routes = [
                route.ifname
                for route in made.of(AddRoute)
                if route.node == f"core-{core}" and made.address(name) in route.destination
            ]
            assert routes == [f"core-{home}"]


@pytest.mark.parametrize(
    ("source", "target", "ms"),
    [("a", "server", 5 + 45), ("b", "server", 5), ("server", "b", 5)],
)
def test_the_model_takes_the_tables_way(source: str, target: str, ms: float) -> None:
    network = Network(globe(), behaviours(globe(), CATALOGUE))
    here, there = Place(source, 4000), Place(target, 5000)
    heard: list[float] = []
    network.bind(target, Protocol.UDP, None, lambda _: heard.append(network.now))
    if target == "b":  # a firewall lets in what was asked for
        network.send(Packet(Protocol.UDP, there, here, Kind.DATAGRAM, target))
    network.send(Packet(Protocol.UDP, here, there, Kind.DATAGRAM, source))
    network.run(1.0)
    assert [round(when * 1000, 6) for when in heard] == [ms]


def test_the_wire_is_held_to_the_tables_round_trip() -> None:
    assert _round_trip_ms(globe(), "a", "server") == 100
    assert _round_trip_ms(globe(), "b", "server") == 10


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("asia.america = 10", "", "the round trip america.asia = ... is missing"),
        (
            "asia.america = 10",
            "asia.america = 10\namerica.asia = 10",
            "america.asia: their round trip is said already",
        ),
        ("asia.america = 10", "asia.asia = 10", "asia.asia: within a region nothing is added"),
        ('region = "america"', "", "names no region of it"),
        ('region = "america"', 'region = "africa"', "unknown region 'africa'"),
        ('network = "home"', 'network = "home"\nregion = "asia"', "is not on the internet"),
        ('region = "america"', 'region = "asia"', "no node is in region 'america'"),
        ("asia.america = 10", "asia.america = -1", "greater than or equal to 0"),
        ("europe.asia", "the-far-far-east.asia", "regions"),
    ],
)
def test_a_table_that_cannot_be_is_refused(old: str, new: str, said: str) -> None:
    with pytest.raises(TopologyError, match=said) as caught:
        globe(GLOBE.replace(old, new))
    assert caught.value.message.startswith("globe.toml:")


def test_a_region_without_a_table_has_no_effect_and_is_refused() -> None:
    table = "\n".join(GLOBE.splitlines()[11:16])
    with pytest.raises(TopologyError, match="region"):
        globe(GLOBE.replace(table, ""))
