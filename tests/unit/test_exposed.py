"""A LAN host that everything goes to that nothing else takes: a DMZ host, and 1:1 NAT."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from types import SimpleNamespace
from typing import Any

import pytest
from test_certify import SEEN, measured, transport

from testbed.certify.claims import claims, compare
from testbed.certify.derive import derive
from testbed.certify.measured import Finding
from testbed.certify.prober.more import exposed
from testbed.errors import ProfileError
from testbed.model.behaviour import (
    Allocation,
    Behaviour,
    Exposed,
    Filtering,
    Forward,
    Hairpin,
    Mapping,
    Pooling,
    Protocol,
    Refresh,
    Timeouts,
    Transport,
)
from testbed.model.entrance import entrance
from testbed.model.furnishing import behaviours
from testbed.model.presets import preset, two_homes
from testbed.model.profile import Profile
from testbed.model.topology import Topology
from testbed.model.trace import Place
from testbed.nat.load import catalogue
from testbed.nat.rules import RouterContext, check, render
from testbed.plan.planner import plan
from testbed.predict.nat import TransportNat
from testbed.predict.nats_as_one import as_one
from testbed.predict.network import Network
from testbed.predict.translation import Dropped, Enters, Leaves

CATALOGUE = catalogue()
DMZ, ONE = (CATALOGUE[name] for name in ("dmz-host", "one-to-one"))
STRANGER, SERVER = Place("x", 100), Place("y", 3478)
EIF, APDF = Filtering.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT


def nat(behaviour: Behaviour, addresses: tuple[str, ...] = ("nat",)) -> TransportNat:
    return TransportNat("nat", Protocol.UDP, behaviour, addresses, ["a", "b"])


def came(box: TransportNat, to: Place, source: Place = STRANGER) -> Place | None:
    found = box.incoming(0, source, to)
    return found.internal if isinstance(found, Enters) else None


def symmetric() -> Behaviour:
    hard = Transport(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=Allocation.RANDOM)
    return Behaviour(udp=hard, tcp=hard, exposed=Exposed.FIRST_HOST)


# -- the model ----------------------------------------------------------------------


def test_a_stranger_comes_to_the_exposed_host_and_is_answered_from_where_he_called() -> None:
    box = nat(DMZ.behaviour)
    assert came(box, Place("nat", 4001)) == Place("a", 4001)
    left = box.outgoing(0.1, Place("a", 4001), STRANGER)
    assert isinstance(left, Leaves)
    assert left.external == Place("nat", 4001)
    assert came(nat(replace(DMZ.behaviour, exposed=Exposed.NONE)), Place("nat", 4001)) is None


def test_a_session_and_a_forward_come_before_the_exposed_host() -> None:
    forwards = (Forward(Protocol.UDP, 9000, 1, 9000),)
    box = nat(replace(DMZ.behaviour, forwards=forwards))
    box.outgoing(0, Place("b", 7000), SERVER)
    assert came(box, Place("nat", 7000), SERVER) == Place("b", 7000)
    assert came(box, Place("nat", 7000)) == Place("a", 7000)  # the filter keeps him from b
    assert came(box, Place("nat", 9000)) == Place("b", 9000)


def test_a_random_port_of_an_exposed_host_leads_strangers_to_a_port_that_it_has_not() -> None:
    box = nat(symmetric())
    left = box.outgoing(0, Place("a", 4001), SERVER)
    assert isinstance(left, Leaves)
    assert left.external.port != 4001
    assert came(box, left.external) == Place("a", left.external.port)
    assert came(box, Place("nat", 4001)) == Place("a", 4001)


def test_each_host_of_a_one_to_one_nat_has_an_address_to_itself() -> None:
    box = nat(ONE.behaviour, ("nat", "nat#1", "nat#2"))
    assert came(box, Place("nat", 5)) == Place("a", 5)
    assert came(box, Place("nat#1", 5)) == Place("b", 5)
    assert isinstance(box.incoming(0, STRANGER, Place("nat#2", 5)), Dropped)
    for host, external in (("a", "nat"), ("b", "nat#1")):
        left = box.outgoing(1, Place(host, 6), SERVER)
        assert isinstance(left, Leaves)
        assert left.external == Place(external, 6)


# -- rules ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"refresh": Refresh.OUTBOUND}, "refresh = outbound"),
        ({"pooling": Pooling.PAIRED}, "with pooling"),
        ({"udp": Transport(blocked=True)}, "udp kept in"),
        ({"tcp": Transport(allowed_ports=(443,))}, "tcp kept in"),
        (
            {name: Transport(mapping=Mapping.NONE) for name in ("udp", "tcp")},
            "exposed = first_host with mapping none",
        ),
        ({"exposed": Exposed.EACH_HOST}, "without an address for each host"),
    ],
)
def test_what_an_exposed_host_cannot_stand_beside_is_refused(
    changes: dict[str, Any], words: str
) -> None:
    behaviour = replace(Behaviour(exposed=Exposed.FIRST_HOST), **changes)
    with pytest.raises(ProfileError, match=words):
        check(replace(ONE, behaviour=behaviour))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"udp": Transport()}, "udp ports that are translated or filtered"),
        ({"quota": 5}, "forwards or a quota"),
        ({"forwards": (Forward(Protocol.UDP, 1, 0, 1),)}, "forwards or a quota"),
    ],
)
def test_a_host_with_an_address_to_itself_has_all_of_it(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ProfileError, match=words):
        check(replace(ONE, behaviour=replace(ONE.behaviour, **changes)))


def context(addresses: int = 1, **changes: Any) -> RouterContext:
    outside = tuple(IPv4Address(f"29.0.0.{2 + number}") for number in range(addresses))
    hosts = (IPv4Address("10.0.0.2"), IPv4Address("10.0.0.3"))
    inside = IPv4Network("10.0.0.0/24")
    return RouterContext("wan", "lan", outside, inside, hosts, **changes)


@pytest.mark.parametrize(
    ("made", "kept", "led"),
    [
        (DMZ, "--dports 4789 -j ACCEPT", "-j DNAT"),
        (replace(CATALOGUE["symmetric"], behaviour=symmetric()), "{ 4789 } accept", "dnat ip"),
    ],
)
def test_a_tunnel_of_the_routers_own_is_not_the_hosts(made: Profile, kept: str, led: str) -> None:
    ((_, text),) = render(made, context(serves=(4789,))).texts
    lines = text.splitlines()
    first = [n for n, line in enumerate(lines) if kept in line]
    then = [n for n, line in enumerate(lines) if led in line and "10.0.0.2" in line]
    assert len(first) == 1
    assert first[0] < min(then)


def test_more_hosts_than_addresses_are_refused_before_a_lab_is_built() -> None:
    world = preset("two-hosts-each", "one-to-one", "symmetric")
    with pytest.raises(ProfileError, match="an external address, and the world has 1 for 2 hosts"):
        behaviours(world, CATALOGUE)
    behaviours(two_homes("one-to-one", "symmetric"), CATALOGUE)


# -- where others find them -----------------------------------------------------------


def with_addresses(topology: Topology, count: int) -> Topology:
    routers = (replace(router, external_addresses=count) for router in topology.routers)
    return replace(topology, routers=tuple(routers))


def test_the_internet_finds_an_exposed_host_at_its_own_port() -> None:
    topology = preset("two-hosts-each", "dmz-host", "port-restricted")
    declared = behaviours(topology, CATALOGUE)
    first, second = (one.name for one in topology.attached("lan-a"))
    assert entrance(topology, declared, first, Protocol.UDP, 77) == ("nat-a", 77, True, 0)
    assert entrance(topology, declared, second, Protocol.UDP, 77) == ("nat-a", 77, False, 0)
    taken = Forward(Protocol.UDP, 77, 1, 9)
    declared["nat-a"] = replace(declared["nat-a"], forwards=(taken,))
    assert entrance(topology, declared, first, Protocol.UDP, 77) == ("nat-a", 77, False, 0)
    assert entrance(topology, declared, first, Protocol.TCP, 77) == ("nat-a", 77, True, 0)


def test_the_internet_finds_each_host_of_a_one_to_one_nat_at_its_own_address() -> None:
    topology = with_addresses(preset("two-hosts-each", "one-to-one", "one-to-one"), 2)
    declared = behaviours(topology, CATALOGUE)
    second = topology.attached("lan-a")[1].name
    assert entrance(topology, declared, second, Protocol.UDP, 77) == ("nat-a", 77, True, 1)
    made = plan(topology, CATALOGUE)
    found = made.entrance(second, Protocol.UDP, 77)
    assert found.address == made.address("nat-a", 1)
    assert made.exposed("nat-a", found.address) == made.address(second)
    assert made.meant(found) == second
    assert Network(topology, declared).entrance(second, Protocol.UDP, 77) == Place("nat-a#1", 77)


def test_a_filter_does_not_hold_for_the_host_that_everything_goes_to() -> None:
    topology = preset("two-hosts-each", "dmz-host", "port-restricted")
    declared = behaviours(topology, CATALOGUE)
    first, second = (one.name for one in topology.attached("lan-a"))
    other = topology.attached("lan-b")[0].name
    found = [
        as_one(topology, declared, Protocol.UDP, (host, other)).filtering
        for host in (first, second)
    ]
    assert found == [EIF, APDF]
    declared["nat-a"] = symmetric()  # called at the port that it was seen at, it has no socket
    assert as_one(topology, declared, Protocol.UDP, (first, other)).filtering is APDF


# -- certification --------------------------------------------------------------------

SHORT = Timeouts(2, 2, 2, 3)
OPEN = Behaviour(timeouts=SHORT, exposed=Exposed.FIRST_HOST)
UNASKED: dict[str, Any] = {
    "filtering": EIF,
    "unexposed_filtering": APDF,
    "unsolicited": None,
    "wan_input": None,
}


def disagreeing(exposed: str, **changes: Any) -> set[str]:
    both = transport(**(UNASKED | {"exposed_host": "a"} | changes))
    found = replace(
        measured(both, exposed=exposed), tcp=replace(both, hairpin=Finding("none", SEEN))
    )
    return {row.axis for row in compare(OPEN, found, mappings=600) if not row.agrees}


def test_a_dmz_that_is_one_agrees_and_each_lie_is_red_on_its_axis() -> None:
    assert disagreeing("first_host") == set()
    assert disagreeing("none") == {"exposed"}
    assert disagreeing("each_host") == {"exposed"}
    both = {"udp.unexposed_filtering", "tcp.unexposed_filtering"}
    assert disagreeing("first_host", unexposed_filtering=EIF) == both
    assert disagreeing("first_host", filtering=APDF) == {"udp.filtering", "tcp.filtering"}


def test_a_profile_that_exposes_nobody_claims_so() -> None:
    assert claims(Behaviour(), mappings=600)["exposed"].holds("none")
    assert not claims(Behaviour(), mappings=600)["exposed"].holds("first_host")


def test_a_measured_dmz_becomes_a_profile_that_says_so() -> None:
    both = transport(**(UNASKED | {"exposed_host": "a", "overloading": True}))
    found = replace(measured(both, exposed="first_host"), tcp=both)
    made = derive(found, mappings=600)
    assert made.behaviour.exposed is Exposed.FIRST_HOST
    assert made.behaviour.udp.filtering is APDF
    assert not {"udp.filtering", "exposed", "forwards"} & {one.axis for one in made.omitted}


def subject(open_host: str | None, mapping: str = "endpoint_independent", **more: Any) -> Any:
    return SimpleNamespace(
        open_host=open_host,
        mapping=SimpleNamespace(value=mapping),
        protocol="udp",
        pool={"a": {"29.0.0.2"}, "b": {"29.0.0.2"}},
        **more,
    )


@pytest.mark.parametrize(
    ("hosts", "value"),
    [
        ((None, None), "none"),
        (("a", "a"), "first_host"),
        (("a", None), "inconsistent"),
        (("b", "b"), "inconsistent"),
    ],
)
def test_what_the_calls_showed_is_told_of_both_protocols(
    hosts: tuple[str | None, str | None], value: str
) -> None:
    assert exposed.measure([subject(host) for host in hosts]).value == value


def test_nobody_is_exposed_by_a_router_that_translates_nothing() -> None:
    assert exposed.measure([subject("a", "none"), subject("a", "none")]).value == "none"


def test_hairpins_and_filters_do_not_hide_what_is_exposed() -> None:
    behaviour = replace(OPEN, hairpin=Hairpin.EXTERNAL_SOURCE)
    assert claims(behaviour, mappings=600)["tcp.hairpin"].holds("external_source")
    assert {"udp.wan_input", "udp.unsolicited"}.isdisjoint(claims(behaviour, mappings=600))


def test_of_a_one_to_one_nat_no_timer_is_claimed_whose_end_nobody_sees() -> None:
    axes = set(claims(ONE.behaviour, mappings=600))
    assert not {"refresh", "timeout_udp", "timeout_udp_stream", "timeout_tcp_established"} & axes
    assert {"timeout_tcp_transitory", "udp.persistence", "exposed", "udp.pooling"} <= axes
    assert {"refresh", "timeout_udp"} <= set(claims(DMZ.behaviour, mappings=600))
