"""The model of a path's life: what NATs and timers make of a fault."""

from dataclasses import replace

import pytest

from testbed.errors import UsageError
from testbed.model.behaviour import Behaviour
from testbed.model.life import After, Ended, Fate, Timers, Transport
from testbed.model.network_fault import (
    LinkDown,
    LinkUp,
    MappingTimeout,
    NatReboot,
    Rebinding,
    Roaming,
    WanAddressChange,
)
from testbed.predict.life import Course, Expected, expect
from testbed.studies.life.scenarios import SCENARIOS, SHORT, Scenario, scenario

UDP, QUIC, TCP = Transport.UDP, Transport.QUIC, Transport.TCP
REBOOT = Course(((0.0, NatReboot("nat-a")),))


def fate_of(told: Scenario, transport: Transport) -> Expected:
    behaviours: dict[str, Behaviour] = {n: p.behaviour for n, p in told.profiles.items()}
    return expect(told.topology(observers=False), behaviours, told.course, transport)


def silence(keepalive: float | None, **more: object) -> Scenario:
    course = Course(((0.0, MappingTimeout(5.0)),), Timers(keepalive, patience=6.0))
    return Scenario("", "", timeouts=SHORT, course=course, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("transport", Transport)
def test_without_a_fault_nothing_breaks(transport: Transport) -> None:
    expected = fate_of(SCENARIOS["steady"], transport)
    assert (expected.fate, expected.low) == (Fate.SURVIVES, 0.0)


@pytest.mark.parametrize("transport", Transport)
@pytest.mark.parametrize("name", SCENARIOS)
def test_no_scenario_leaves_its_fate_to_chance(name: str, transport: Transport) -> None:
    expected = fate_of(SCENARIOS[name], transport)
    assert expected.low <= expected.high
    assert (expected.fate is Fate.LOST) == (expected.high == 0.0)


def test_every_kind_of_fault_has_a_scenario() -> None:
    told = {type(fault) for one in SCENARIOS.values() for _, fault in one.course.faults}
    faults = {NatReboot, WanAddressChange, Rebinding, LinkDown, LinkUp, Roaming, MappingTimeout}
    assert told == faults


def test_half_the_nats_timer_keeps_a_mapping_and_twice_does_not() -> None:
    assert fate_of(silence(1.0), UDP).fate is Fate.SURVIVES
    assert fate_of(silence(4.0), UDP).fate is Fate.LOST
    assert fate_of(silence(None), UDP).fate is Fate.LOST


def test_a_timer_longer_than_the_silence_needs_no_keepalive() -> None:
    patient = replace(silence(None), timeouts=replace(SHORT, udp=30, udp_stream=30))
    assert fate_of(patient, UDP).fate is Fate.SURVIVES


def test_a_stack_that_gives_up_in_the_silence_is_not_saved_by_the_nat() -> None:
    course = Course(((0.0, MappingTimeout(5.0)),), Timers(None, patience=2.0))
    hasty = Scenario("", "", course=course)
    assert fate_of(hasty, UDP).fate is Fate.SURVIVES
    assert fate_of(hasty, QUIC).fate is Fate.DIRECT


def test_tcp_without_keepalive_never_notices() -> None:
    expected = fate_of(silence(None, random=(True, False)), TCP)
    assert expected.fate is Fate.LOST
    assert isinstance(expected.why, Ended)
    assert expected.why.after is After.UNNOTICED


@pytest.mark.parametrize("transport", Transport)
def test_a_reboot_that_brings_the_old_ports_back_is_survived(transport: Transport) -> None:
    assert fate_of(Scenario("", "", course=REBOOT), transport).fate is Fate.SURVIVES


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
    told = Scenario("", "", b=other, random=(True, False), course=course)
    assert tuple(fate_of(told, transport).fate for transport in Transport) == fates


def test_address_dependent_filtering_follows_a_port_but_not_an_address() -> None:
    def told(fault: Rebinding | WanAddressChange) -> Scenario:
        course = Course(((0.0, fault),))
        return Scenario("", "", b="restricted-cone", random=(True, False), course=course)

    assert fate_of(told(Rebinding("nat-a")), QUIC).fate is Fate.SURVIVES
    assert fate_of(told(WanAddressChange("nat-a")), QUIC).fate is not Fate.SURVIVES


def test_after_a_migration_the_next_upgrade_offers_what_the_relay_sees_then() -> None:
    expected = fate_of(SCENARIOS["new-address"], QUIC)
    assert expected.fate is Fate.DIRECT
    assert expected.moved


def test_where_the_new_network_maps_per_destination_a_stays_with_the_relay() -> None:
    fates = [fate_of(SCENARIOS["roaming-symmetric"], transport).fate for transport in Transport]
    assert fates == [Fate.LOST, Fate.RELAYED, Fate.RELAYED]


def test_an_rst_is_faster_than_any_patience() -> None:
    told = SCENARIOS["rebinding-open"]
    assert fate_of(told, TCP).high < told.course.timers.patience


def test_a_cut_is_survived_if_it_is_shorter_than_the_patience() -> None:
    def cut(seconds: float) -> Scenario:
        course = Course(((0.0, LinkDown("nat-a")), (seconds, LinkUp("nat-a"))))
        return Scenario("", "", course=course)

    for transport in (QUIC, TCP):
        assert fate_of(cut(1.0), transport).fate is Fate.SURVIVES
        assert fate_of(cut(5.0), transport).fate is Fate.DIRECT
    assert fate_of(cut(5.0), UDP).fate is Fate.SURVIVES  # nobody gives up


def test_a_socket_of_tcp_does_not_roam() -> None:
    told = SCENARIOS["roaming-open"]
    assert [fate_of(told, t).fate for t in Transport] == [
        Fate.SURVIVES, Fate.SURVIVES, Fate.DIRECT,
    ]  # fmt: skip


def test_a_pair_that_never_gets_through_has_no_life_to_predict() -> None:
    with pytest.raises(UsageError, match="no direct path"):
        fate_of(Scenario("", "", a="symmetric", b="symmetric"), QUIC)


@pytest.mark.parametrize("patience", [1.0, 2.0, 6.0])
def test_it_is_all_the_same_whether_b_has_noticed_before_a_is_back(patience: float) -> None:
    course = replace(SCENARIOS["rebinding-open"].course, timers=Timers(patience=patience))
    assert fate_of(replace(SCENARIOS["rebinding-open"], course=course), TCP).fate is Fate.DIRECT


def test_an_unknown_scenario_is_answered_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="unknown scenario 'rebot'") as caught:
        scenario("rebot")
    assert "reboot" in str(caught.value.remedy)
