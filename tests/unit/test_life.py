"""The model of a path's life: what NATs and timers make of a fault."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from testbed.errors import UsageError
from testbed.model.behaviour import Allocation, Behaviour, Timeouts
from testbed.model.events import KINDS
from testbed.model.life import After, Ended, Fate, Shut, Timers, Transport, Undisturbed
from testbed.model.network_fault import (
    Fault,
    LinkDown,
    LinkUp,
    LossBurst,
    MappingTimeout,
    NatReboot,
    Rebinding,
    RelayRestart,
    Sleep,
    Switch,
    Wake,
    WanAddressChange,
)
from testbed.model.presets import LIVES, carrier, two_homes
from testbed.model.topology import Link
from testbed.nat.load import catalogue
from testbed.predict.life import Course, Expected, expect
from testbed.stacks.registry import stacks
from testbed.studies.life.scenarios import Scenario, scenario
from testbed.studies.punch.mechanisms import of

CATALOGUE = catalogue()
UDP, QUIC, TCP = Transport.UDP, Transport.QUIC, Transport.TCP
REBOOT = Course(((0.0, NatReboot("nat-a")),))
SHORT = Timeouts(udp=2, udp_stream=2, tcp_transitory=2, tcp_established=2)


def fate_of(told: Scenario, transport: Transport, timers: Timers | None = None) -> Expected:
    course = told.course(timers or told.timers)
    return expect(told.topology(observers=False), behaviours_of(told), course, transport)


def behaviours_of(told: Scenario) -> dict[str, Behaviour]:
    return {name: profile.behaviour for name, profile in told.profiles.items()}


@dataclass(frozen=True)
class Homes:
    """Two homes: their NATs, and what happens to the path between them."""

    a: str = "port-restricted"
    b: str = "port-restricted"
    random: bool = False  # a's NAT chooses its ports so
    timeouts: Timeouts | None = None
    course: Course = field(default_factory=Course)

    def fate(self, transport: Transport) -> Expected:
        homes = two_homes(self.a, self.b)
        known = {r.name: CATALOGUE[r.profile].behaviour for r in homes.routers}
        if self.random:
            both = (known["nat-a"].udp, known["nat-a"].tcp)
            udp, tcp = (replace(one, allocation=Allocation.RANDOM) for one in both)
            known["nat-a"] = replace(known["nat-a"], udp=udp, tcp=tcp)
        if self.timeouts is not None:
            known = {name: replace(one, timeouts=self.timeouts) for name, one in known.items()}
        return expect(homes, known, self.course, transport)


def silence(keepalive: float | None, **more: Any) -> Homes:
    course = Course(((0.0, MappingTimeout(5.0)),), Timers(keepalive, patience=6.0))
    words: dict[str, Any] = {"timeouts": SHORT, "course": course}
    return Homes(**(words | more))


@pytest.mark.parametrize("transport", Transport)
def test_without_a_fault_nothing_breaks(transport: Transport) -> None:
    expected = fate_of(scenario("steady"), transport)
    assert (expected.fate, expected.low) == (Fate.SURVIVES, 0.0)


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("name", LIVES)
def test_no_scenario_leaves_its_fate_to_chance(name: str, transport: Transport) -> None:
    expected = fate_of(scenario(name), transport)
    assert expected.low <= expected.high
    assert (expected.fate is Fate.LOST) == (expected.high == 0.0)


def test_every_kind_of_fault_has_a_scenario() -> None:
    told = {event.kind for name in LIVES for event in scenario(name).world.world.events}
    assert told == {*KINDS}


def test_half_the_nats_timer_keeps_a_mapping_and_twice_does_not() -> None:
    assert silence(1.0).fate(UDP).fate is Fate.SURVIVES
    assert silence(4.0).fate(UDP).fate is Fate.LOST
    assert silence(None).fate(UDP).fate is Fate.LOST


def test_a_timer_longer_than_the_silence_needs_no_keepalive() -> None:
    patient = silence(None, timeouts=replace(SHORT, udp=30, udp_stream=30))
    assert patient.fate(UDP).fate is Fate.SURVIVES


def test_a_stack_that_gives_up_in_the_silence_is_not_saved_by_the_nat() -> None:
    course = Course(((0.0, MappingTimeout(5.0)),), Timers(None, patience=2.0))
    hasty = Homes(course=course)
    assert hasty.fate(UDP).fate is Fate.SURVIVES
    assert hasty.fate(QUIC).fate is Fate.DIRECT


def test_tcp_without_keepalive_never_notices() -> None:
    expected = silence(None, random=True).fate(TCP)
    assert expected.fate is Fate.LOST
    assert isinstance(expected.why, Ended)
    assert expected.why.after is After.UNNOTICED


@pytest.mark.parametrize("transport", Transport)
def test_a_reboot_that_brings_the_old_ports_back_is_survived(transport: Transport) -> None:
    assert Homes(course=REBOOT).fate(transport).fate is Fate.SURVIVES


@pytest.mark.parametrize(
    ("other", "fates"),
    [
        ("port-restricted", (Fate.LOST, Fate.DIRECT, Fate.DIRECT)),
        ("restricted-cone", (Fate.SURVIVES, Fate.SURVIVES, Fate.DIRECT)),
        ("full-cone", (Fate.SURVIVES, Fate.SURVIVES, Fate.DIRECT)),
    ],
)
def test_new_ports_are_followed_where_the_other_nat_lets_them_in(
    other: str, fates: tuple[Fate, ...]
) -> None:
    course = replace(REBOOT, timers=Timers(patience=6.0))
    told = Homes(b=other, random=True, course=course)
    assert tuple(told.fate(transport).fate for transport in Transport) == fates


def test_address_dependent_filtering_follows_a_port_but_not_an_address() -> None:
    def told(fault: Rebinding | WanAddressChange) -> Homes:
        return Homes(b="restricted-cone", random=True, course=Course(((0.0, fault),)))

    assert told(Rebinding("nat-a")).fate(QUIC).fate is Fate.SURVIVES
    assert told(WanAddressChange("nat-a")).fate(QUIC).fate is not Fate.SURVIVES


def test_after_a_migration_the_next_upgrade_offers_what_the_relay_sees_then() -> None:
    expected = fate_of(scenario("new-address"), QUIC)
    assert expected.fate is Fate.DIRECT
    assert expected.moved


def test_where_the_new_network_maps_per_destination_a_stays_with_the_relay() -> None:
    fates = [fate_of(scenario("roaming-symmetric"), transport).fate for transport in Transport]
    assert fates == [Fate.LOST, Fate.RELAYED, Fate.RELAYED]


def test_an_rst_is_faster_than_any_patience() -> None:
    told = scenario("rebinding-open")
    assert fate_of(told, TCP).high < told.timers.patience


def test_a_cut_is_survived_if_it_is_shorter_than_the_patience() -> None:
    def cut(seconds: float) -> Homes:
        return Homes(course=Course(((0.0, LinkDown("nat-a")), (seconds, LinkUp("nat-a")))))

    for transport in (QUIC, TCP):
        assert cut(1.0).fate(transport).fate is Fate.SURVIVES
        assert cut(5.0).fate(transport).fate is Fate.DIRECT
    assert cut(5.0).fate(UDP).fate is Fate.SURVIVES  # nobody gives up


def test_a_socket_of_tcp_does_not_roam() -> None:
    told = scenario("roaming-open")
    assert [fate_of(told, t).fate for t in Transport] == [
        Fate.SURVIVES, Fate.SURVIVES, Fate.DIRECT,
    ]  # fmt: skip


def test_a_pair_that_never_gets_through_has_no_life_to_predict() -> None:
    with pytest.raises(UsageError, match="no direct path"):
        Homes("symmetric", "symmetric").fate(QUIC)


@pytest.mark.parametrize("patience", [1.0, 2.0, 6.0])
def test_it_is_all_the_same_whether_b_has_noticed_before_a_is_back(patience: float) -> None:
    told = fate_of(scenario("rebinding-open"), TCP, Timers(patience=patience))
    assert told.fate is Fate.DIRECT


def test_an_unknown_scenario_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="unknown scenario 'rebot'") as caught:
        scenario("rebot")
    assert "reboot" in str(caught.value.remedy)


def test_a_wire_that_nobody_mends_leaves_nothing() -> None:
    for node in ("nat-a", "b", "a"):
        for transport in Transport:
            assert Homes(course=Course(((0.0, LinkDown(node)),))).fate(transport).fate is Fate.LOST


def test_a_host_that_sleeps_is_cut_off_until_it_wakes() -> None:
    def asleep(host: str, seconds: float) -> Homes:
        return Homes(course=Course(((0.0, Sleep(host)), (seconds, Wake(host)))))

    for host in ("a", "b"):
        assert asleep(host, 1.0).fate(QUIC).fate is Fate.SURVIVES
        assert asleep(host, 5.0).fate(QUIC).fate is Fate.DIRECT
        assert asleep(host, 5.0).fate(UDP).fate is Fate.SURVIVES


def test_a_host_that_sleeps_hears_by_none_of_its_interfaces() -> None:
    told = scenario("phone-roams")
    faults = ((0.0, Switch("phone", "cellular")), (0.0, Sleep("phone")))
    world, known = told.topology(observers=False), behaviours_of(told)
    assert expect(world, known, Course(faults[1:]), QUIC, redials=False).fate is Fate.LOST
    asleep = expect(world, known, Course(faults), QUIC, redials=False)
    assert isinstance(asleep.why, Ended)
    assert asleep.why.end == Shut("phone")


def test_a_router_with_a_second_uplink_goes_by_that_when_the_first_is_cut() -> None:
    told = scenario("uplink-fails")
    assert [fate_of(told, one).fate for one in Transport] == [Fate.LOST, Fate.DIRECT, Fate.DIRECT]
    only_cut = Course(told.course(told.timers).faults[:1], told.timers)
    assert expect(told.topology(observers=False), behaviours_of(told), only_cut, QUIC).fate is (
        Fate.LOST
    )


def test_a_tcp_socket_stays_by_its_interface_when_a_vpn_goes_on() -> None:
    told = scenario("vpn-goes-on")
    assert [fate_of(told, one).fate for one in Transport] == [
        Fate.LOST, Fate.RELAYED, Fate.SURVIVES,
    ]  # fmt: skip


def test_a_direct_path_does_not_need_its_relay() -> None:
    for transport in Transport:
        told = Homes(course=Course(((0.0, RelayRestart(3.0)),))).fate(transport)
        assert (told.fate, told.low) == (Fate.SURVIVES, 0.0)


def test_the_gap_is_the_longest_of_several() -> None:
    cuts = ((0.0, LinkDown("a")), (0.5, LinkUp("a")), (2.0, LinkDown("b")), (3.0, LinkUp("b")))
    told = Homes(course=Course(cuts)).fate(UDP)
    assert 0.8 < told.low < 1.0 < told.high < 2.3


def test_a_gap_is_counted_from_the_last_echo_and_not_from_the_first_event() -> None:
    def told(at: float) -> Expected:
        return Homes(course=Course(((0.0, LinkUp("a")), (at, WanAddressChange("nat-b"))))).fate(TCP)

    assert told(0.0).low == pytest.approx(told(4.0).low)


def test_chance_is_not_foretold() -> None:
    burst = ((0.0, LossBurst("nat-a", 0.5, Link.both(loss=0.5))),)
    with pytest.raises(UsageError, match="lost by chance"):
        Homes(course=Course(burst)).fate(UDP)


def test_a_second_connection_is_not_followed() -> None:
    late = ((0.0, WanAddressChange("nat-b")), (8.0, NatReboot("nat-a")))
    with pytest.raises(UsageError, match="second connection"):
        Homes(course=Course(late)).fate(TCP)


def test_a_path_is_followed_through_all_its_nats() -> None:
    """Two subscribers of one carrier, behind NATs of their own."""
    told = carrier("port-restricted", "port-restricted")
    known = {r.name: CATALOGUE[r.profile].behaviour for r in told.routers}
    inner, outer = told.path_out("a")

    def fate(fault: Fault) -> Fate:
        return expect(told, known, Course(((0.0, fault),)), QUIC, redials=False).fate

    assert fate(NatReboot(inner.name)) is Fate.SURVIVES
    assert fate(LinkDown(outer.name)) is Fate.SURVIVES  # it turns round there
    assert fate(LinkDown(inner.name)) is Fate.LOST


# Mapped ports and names


LADDER = of(stacks("ladder-quic")).modes["punch"].model


def mapped(told: Scenario, *faults: tuple[float, Fault]) -> Expected:
    there = told.topology(observers=False)
    course = Course(faults, told.timers)
    return expect(there, behaviours_of(told), course, QUIC, model=LADDER)


def test_a_port_that_is_mapped_still_outlives_the_flows_through_it() -> None:
    told = scenario("lease-lost")
    lost, forgotten = (fault for _, fault in told.course(told.timers).faults)
    assert mapped(told, (0.5, lost)).fate is Fate.SURVIVES
    assert mapped(told, (0.5, forgotten)).fate is Fate.SURVIVES
    assert mapped(told, (0.5, lost), (1.0, forgotten)).fate is Fate.DIRECT


def test_who_is_connected_asks_for_no_names() -> None:
    assert fate_of(scenario("dns-restart"), QUIC).why == Undisturbed()


def test_a_wire_that_is_not_in_use_may_be_cut() -> None:
    told = scenario("uplink-fails")
    there = told.topology(observers=False)
    course = Course(((0.0, LinkDown("nat-a", "wan1")),))
    assert expect(there, behaviours_of(told), course, QUIC).fate is Fate.SURVIVES
    course = Course(((0.0, LinkDown("nat-a", "wan")),))
    assert expect(there, behaviours_of(told), course, QUIC).fate is Fate.LOST
