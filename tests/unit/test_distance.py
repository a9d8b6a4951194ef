"""How long a world's ways are, and how patient peers are told to be there."""

import pytest

from testbed.model.contract import Configure
from testbed.model.distance import ROUND_TRIPS, USUAL_S, extra_time_s, round_trip_s
from testbed.model.furnishing import behaviours
from testbed.model.presets import find, preset
from testbed.model.topology import Conditions
from testbed.nat.load import catalogue
from testbed.predict.model import Setting
from testbed.predict.network import Network
from testbed.run.cell import asked
from testbed.stacks.registry import ADAPTERS
from testbed.studies.punch.cell import Cell

LINE = """{"command": "configure", "version": 2, "role": "dialer", "transport": "udp",
"local_address": "10.0.0.6", "port": 4001, "stun": null, "turn": null, "relays": [],
"observers": [], "session": "5d1fd6c1bd1a4ea2b8e7a9f55a0fbb3c", "seed": 7,
"options": {"mode": "punch", "relay_only": false}}"""
HOME = ("linux-home", "linux-home")


def extra(world: str, *profiles: str) -> float:
    topology = preset(world, *profiles)
    return extra_time_s(topology, (topology.roles.a, topology.roles.b), topology.roles.relay)


@pytest.mark.parametrize(
    ("world", "round_trip"),
    [("two-homes", 0.04), ("carrier", 0.04), ("far-relay", 0.31), ("satellite-lossy", 0.54)],
)
def test_a_round_trip_is_the_sum_of_both_directions_of_each_link_on_the_way(
    world: str, round_trip: float
) -> None:
    topology = preset(world, *HOME)
    assert round_trip_s(topology, "a", topology.roles.relay) == pytest.approx(round_trip)


def test_a_round_trip_crosses_regions() -> None:
    topology = preset("three-continents", *HOME)
    roles, regions = topology.roles, topology.regions
    between = regions.round_trip_ms(topology.region(roles.b), topology.region(roles.relay)) / 1000
    assert between > 0
    assert round_trip_s(topology, roles.b, roles.relay) > between


@pytest.mark.parametrize("world", ["two-homes", "libp2p", "carrier", "same-lan", "hotel-and-home"])
def test_no_extra_time_is_given_where_the_ways_are_usual(world: str) -> None:
    options = len(find(world).world.options)
    assert extra(world, *HOME[:options]) == 0


@pytest.mark.parametrize(
    ("world", "by_relay"), [("far-relay", 0.62), ("satellite", 0.58), ("lopsided", 0.252)]
)
def test_where_they_are_long_each_deadline_is_longer_by_a_dials_round_trips(
    world: str, by_relay: float
) -> None:
    assert extra(world, *HOME) == pytest.approx(ROUND_TRIPS * (by_relay - USUAL_S))


@pytest.mark.parametrize("world", ["far-relay", "satellite"])
def test_the_harness_and_the_model_wait_longer_as_the_peers_are_told_to(world: str) -> None:
    near, far = (asked(Cell("traversal-tcp", HOME, place)) for place in ("two-homes", world))
    assert far.extra_time > near.extra_time == 0
    for deadline in ("connecting", "closing"):
        more = getattr(far.deadlines, deadline) - getattr(near.deadlines, deadline)
        assert more == pytest.approx(far.extra_time)
    topology = preset(world, *HOME)
    declared = behaviours(topology, catalogue())
    setting = Setting(Network(topology, declared), "a", "b", "server", 0.0)
    assert setting.extra == far.extra_time


def test_conditions_of_the_command_line_count() -> None:
    conditions = Conditions(delay_ms=200.0)
    assert asked(Cell("traversal-tcp", HOME, conditions=conditions)).extra_time > 0
    slow = Conditions(link="satellite")
    assert asked(Cell("traversal-tcp", HOME, conditions=slow)).extra_time > 0


def test_every_stack_of_dcutr_can_be_told() -> None:
    able = [one for one in ADAPTERS.values() if one.mechanism in ("dcutr_tcp", "dcutr_quic")]
    assert able
    assert all("extra_time" in one.features for one in able)


def test_no_extra_time_is_no_member_of_the_line() -> None:
    usual = Configure.model_validate_json(LINE)
    assert usual.extra_time == 0
    assert "extra_time" not in usual.model_dump_json()
    assert '"extra_time":1.5' in usual.model_copy(update={"extra_time": 1.5}).model_dump_json()
