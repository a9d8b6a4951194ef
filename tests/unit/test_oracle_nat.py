"""The NAT model alone: one packet after another, time passed in."""

from dataclasses import replace
from typing import Any

import pytest

from testbed.model.behaviour import (
    Allocation,
    Behaviour,
    Filtering,
    Forward,
    Mapping,
    Pooling,
    PortRange,
    Protocol,
    Refresh,
    Timeouts,
    Transport,
    Unsolicited,
    WanInput,
)
from testbed.model.trace import Answer, Kind, Place
from testbed.predict.nat import TransportNat
from testbed.predict.packet import Packet
from testbed.predict.translation import Dropped, Enters, Leaves

INSIDE = Place("a", 4001)
NEIGHBOUR = Place("b", 4001)
EXTERNAL = Place("nat", 4001)
REMOTE = Place("x", 100)
SAME_ADDRESS = Place("x", 200)
STRANGER = Place("y", 100)


def nat(protocol: Protocol = Protocol.UDP, **changes: object) -> TransportNat:
    """A NAT; keywords change its `Transport` or, failing that, its `Behaviour`."""
    axes = {k: v for k, v in changes.items() if k in Transport.__dataclass_fields__}
    rest = {k: v for k, v in changes.items() if k not in axes}
    transport = replace(Transport(), **axes)  # type: ignore[arg-type]
    behaviour = replace(Behaviour(udp=transport, tcp=transport), **rest)  # type: ignore[arg-type]
    return TransportNat("nat", protocol, behaviour, ["nat"], ["a", "b"])


def leave(box: TransportNat, now: float, inside: Place, remote: Place) -> Place:
    out = box.outgoing(now, inside, remote)
    assert isinstance(out, Leaves)
    return out.external


def admitted(box: TransportNat, now: float, remote: Place, external: Place) -> bool:
    return isinstance(box.incoming(now, remote, external), Enters)


@pytest.mark.parametrize(
    ("mapping", "same_address", "other_address"),
    [
        (Mapping.ENDPOINT_INDEPENDENT, True, True),
        (Mapping.ADDRESS_DEPENDENT, True, False),
        (Mapping.ADDRESS_AND_PORT_DEPENDENT, False, False),
    ],
)
@pytest.mark.parametrize("allocation", list(Allocation))
def test_a_mapping_is_shared_as_rfc_4787_section_4_1_says(
    mapping: Mapping, same_address: bool, other_address: bool, allocation: Allocation
) -> None:
    box = nat(mapping=mapping, allocation=allocation)
    first = leave(box, 0, INSIDE, REMOTE)
    assert (leave(box, 1, INSIDE, SAME_ADDRESS) == first) is same_address
    assert (leave(box, 2, INSIDE, STRANGER) == first) is other_address


@pytest.mark.parametrize(
    ("filtering", "same_address", "stranger"),
    [
        (Filtering.ENDPOINT_INDEPENDENT, True, True),
        (Filtering.ADDRESS_DEPENDENT, True, False),
        (Filtering.ADDRESS_AND_PORT_DEPENDENT, False, False),
    ],
)
@pytest.mark.parametrize("mapping", list(Mapping)[1:])
def test_a_filter_lets_in_whom_rfc_4787_section_5_says(
    mapping: Mapping, filtering: Filtering, same_address: bool, stranger: bool
) -> None:
    box = nat(mapping=mapping, filtering=filtering)
    external = leave(box, 0, INSIDE, REMOTE)
    assert admitted(box, 1, REMOTE, external)
    assert admitted(box, 1, SAME_ADDRESS, external) is same_address
    assert admitted(box, 1, STRANGER, external) is stranger


def test_nothing_enters_before_something_left() -> None:
    box = nat(filtering=Filtering.ENDPOINT_INDEPENDENT)
    assert not admitted(box, 0, STRANGER, EXTERNAL)


def test_a_reply_to_a_stranger_leaves_from_the_port_that_he_knows() -> None:
    box = nat(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT, filtering=Filtering.ENDPOINT_INDEPENDENT)
    known = leave(box, 0, INSIDE, REMOTE)
    assert admitted(box, 1, STRANGER, known)
    assert leave(box, 2, INSIDE, STRANGER) == known


def test_a_remote_met_on_two_external_ports_is_kept_apart_by_its_source() -> None:
    box = nat(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT, filtering=Filtering.ENDPOINT_INDEPENDENT)
    known = leave(box, 0, INSIDE, REMOTE)
    towards_stranger = leave(box, 1, INSIDE, STRANGER)
    came = box.incoming(2, STRANGER, known)
    assert isinstance(came, Enters)
    assert came.remote != STRANGER
    assert came.remote.address == STRANGER.address
    back = box.outgoing(3, INSIDE, came.remote)
    assert isinstance(back, Leaves)
    assert (back.external, back.remote) == (known, STRANGER)
    assert leave(box, 3, INSIDE, STRANGER) == towards_stranger


def test_an_early_packet_taken_by_the_router_owns_its_port() -> None:
    naive = nat(wan_input=WanInput.ACCEPT)
    early = naive.incoming(0, STRANGER, EXTERNAL)
    assert isinstance(early, Dropped)
    assert early.taken
    assert leave(naive, 1, INSIDE, REMOTE) == EXTERNAL
    assert leave(naive, 1, INSIDE, STRANGER) != EXTERNAL


def test_a_dropped_early_packet_leaves_nothing_behind() -> None:
    box = nat(wan_input=WanInput.DROP)
    assert not admitted(box, 0, STRANGER, EXTERNAL)
    assert leave(box, 1, INSIDE, STRANGER) == EXTERNAL


def test_a_syn_that_the_router_resets_owns_no_port() -> None:
    naive = nat(Protocol.TCP, wan_input=WanInput.ACCEPT)
    early = naive.incoming(0, STRANGER, EXTERNAL)
    assert isinstance(early, Dropped)
    assert early.answer is Answer.RESET
    assert leave(naive, 1, INSIDE, STRANGER) == EXTERNAL


def test_an_rst_closes_a_session_that_it_is_the_first_answer_to() -> None:
    box = nat(Protocol.TCP)
    leave(box, 0, INSIDE, REMOTE)
    assert isinstance(box.error(0, REMOTE, EXTERNAL, reset=True), Enters)
    assert not admitted(box, 0, REMOTE, EXTERNAL)


def test_an_icmp_error_closes_nothing() -> None:
    box = nat(Protocol.TCP)
    leave(box, 0, INSIDE, REMOTE)
    assert isinstance(box.error(0, REMOTE, EXTERNAL, reset=False), Enters)
    assert admitted(box, 0, REMOTE, EXTERNAL)


@pytest.mark.parametrize(
    ("protocol", "unsolicited", "answer"),
    [
        (Protocol.UDP, Unsolicited.DROP, Answer.SILENCE),
        (Protocol.UDP, Unsolicited.RESET, Answer.SILENCE),
        (Protocol.UDP, Unsolicited.ICMP, Answer.UNREACHABLE),
        (Protocol.TCP, Unsolicited.DROP, Answer.SILENCE),
        (Protocol.TCP, Unsolicited.RESET, Answer.RESET),
        (Protocol.TCP, Unsolicited.ICMP, Answer.UNREACHABLE),
    ],
)
def test_the_unsolicited_get_the_declared_answer(
    protocol: Protocol, unsolicited: Unsolicited, answer: Answer
) -> None:
    refused = nat(protocol, unsolicited=unsolicited).incoming(0, STRANGER, EXTERNAL)
    assert isinstance(refused, Dropped)
    assert refused.answer is answer


def test_two_hosts_on_one_port_get_two_unless_overloading() -> None:
    box = nat()
    assert leave(box, 0, INSIDE, REMOTE) != leave(box, 0, NEIGHBOUR, STRANGER)
    overloading = nat(overloading=True)
    assert leave(overloading, 0, INSIDE, REMOTE) == leave(overloading, 0, NEIGHBOUR, STRANGER)
    assert leave(overloading, 0, INSIDE, SAME_ADDRESS) == EXTERNAL
    third = leave(overloading, 0, Place("c", 4001), REMOTE)
    assert third != EXTERNAL, "one tuple has one owner, overloading or not"


def test_hashed_ports_come_back_after_expiry_and_random_ones_do_not() -> None:
    for allocation, again in ((Allocation.HASHED, True), (Allocation.RANDOM, False)):
        box = nat(allocation=allocation, timeouts=Timeouts(udp=1, udp_stream=1))
        first = leave(box, 0, INSIDE, REMOTE)
        assert (leave(box, 5, INSIDE, REMOTE) == first) is again


def test_sequential_ports_follow_each_other_and_end_with_the_range() -> None:
    box = nat(
        mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT,
        allocation=Allocation.SEQUENTIAL,
        ports=PortRange(5000, 5002),
    )
    ports = [leave(box, 0, INSIDE, Place("x", n)).port for n in range(3)]
    assert ports == [5000, 5001, 5002]
    assert isinstance(box.outgoing(0, INSIDE, STRANGER), Dropped)


def test_a_port_that_a_hash_remembers_is_given_where_no_other_is_left() -> None:
    few: dict[str, Any] = {"allocation": Allocation.HASHED, "ports": PortRange(5008, 5009)}
    box = nat(**few, timeouts=Timeouts(udp=10, udp_stream=10))
    third = Place("a", 3)
    first = {leave(box, 0, inside, REMOTE).port for inside in (INSIDE, NEIGHBOUR)}
    assert first == {5008, 5009}
    assert isinstance(box.outgoing(5, third, REMOTE), Dropped)
    later = {leave(box, 20, inside, REMOTE).port for inside in (third, INSIDE)}
    assert later == first
    assert isinstance(box.outgoing(20, NEIGHBOUR, REMOTE), Dropped)


def test_a_quota_counts_mappings_of_one_subscriber_until_they_expire() -> None:
    box = nat(quota=1, timeouts=Timeouts(udp=10, udp_stream=10))
    leave(box, 0, INSIDE, REMOTE)
    leave(box, 0, INSIDE, STRANGER)  # the same mapping
    assert isinstance(box.outgoing(0, Place("a", 5), REMOTE), Dropped)
    leave(box, 0, NEIGHBOUR, REMOTE)
    leave(box, 11, Place("a", 5), REMOTE)


def test_a_mapping_lives_as_long_as_it_is_refreshed() -> None:
    times = Timeouts(udp=10, udp_stream=10)
    for refresh, alive in ((Refresh.OUTBOUND, False), (Refresh.BOTH, True)):
        box = nat(refresh=refresh, timeouts=times)
        leave(box, 0, INSIDE, REMOTE)
        assert admitted(box, 8, REMOTE, EXTERNAL)
        assert admitted(box, 16, REMOTE, EXTERNAL) is alive
    box = nat(timeouts=times)
    leave(box, 0, INSIDE, REMOTE)
    leave(box, 8, INSIDE, REMOTE)
    assert admitted(box, 16, REMOTE, EXTERNAL)
    assert not admitted(box, 27, REMOTE, EXTERNAL)


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize(("after", "lives"), [(9.75, True), (10, False)])
def test_a_timer_has_run_out_at_its_very_end(protocol: Protocol, after: float, lives: bool) -> None:
    times = Timeouts(udp=10, udp_stream=10, tcp_transitory=10)
    box = nat(protocol, timeouts=times)
    leave(box, 0, INSIDE, REMOTE)
    assert admitted(box, after, REMOTE, EXTERNAL) is lives


@pytest.mark.parametrize(("replied", "is_stream"), [(2.0, False), (2.25, True)])
def test_a_reply_makes_a_stream_if_it_comes_more_than_two_seconds_after_the_first_packet(
    replied: float, is_stream: bool
) -> None:
    box = nat(timeouts=Timeouts(udp=10, udp_stream=60))
    leave(box, 0, INSIDE, REMOTE)
    assert admitted(box, replied, REMOTE, EXTERNAL)
    assert admitted(box, replied + 10, REMOTE, EXTERNAL) is is_stream


def test_a_udp_stream_earns_its_longer_life_after_two_seconds() -> None:
    box = nat(timeouts=Timeouts(udp=10, udp_stream=60))
    leave(box, 0, INSIDE, REMOTE)
    assert admitted(box, 1, REMOTE, EXTERNAL)
    assert not admitted(box, 12, REMOTE, EXTERNAL), "a quick reply is no stream yet"
    leave(box, 20, INSIDE, REMOTE)
    assert admitted(box, 23, REMOTE, EXTERNAL)
    assert admitted(box, 70, REMOTE, EXTERNAL)


def test_a_forward_admits_strangers_to_its_host_and_nobody_elsewhere() -> None:
    box = nat(forwards=(Forward(Protocol.UDP, 9000, 1, 4001),))
    came = box.incoming(0, STRANGER, Place("nat", 9000))
    assert isinstance(came, Enters)
    assert came.internal == NEIGHBOUR
    assert leave(box, 1, NEIGHBOUR, STRANGER) == Place("nat", 9000)
    assert not admitted(box, 0, STRANGER, Place("nat", 9001))


def test_a_firewall_translates_nothing_and_still_filters() -> None:
    box = nat(mapping=Mapping.NONE)
    assert leave(box, 0, INSIDE, REMOTE) == INSIDE
    assert admitted(box, 1, REMOTE, INSIDE)
    assert not admitted(box, 1, STRANGER, INSIDE)


def test_blocked_transports_and_ports_do_not_leave() -> None:
    assert isinstance(nat(blocked=True).outgoing(0, INSIDE, REMOTE), Dropped)
    corporate = nat(allowed_ports=(443,))
    assert isinstance(corporate.outgoing(0, INSIDE, REMOTE), Dropped)
    leave(corporate, 0, INSIDE, Place("x", 443))


def test_a_forwarded_port_is_its_hosts_alone() -> None:
    box = nat(overloading=True, forwards=(Forward(Protocol.UDP, 4001, 1, 4001),))
    assert leave(box, 0, INSIDE, REMOTE) != EXTERNAL
    assert leave(box, 0, NEIGHBOUR, REMOTE) == EXTERNAL


def test_of_several_external_addresses_every_mapping_takes_the_first() -> None:
    box = TransportNat("nat", Protocol.UDP, Behaviour(), ["nat", "nat#1"], ["a", "b"])
    assert leave(box, 0, INSIDE, REMOTE).address == "nat"
    assert leave(box, 0, NEIGHBOUR, REMOTE).address == "nat"


def test_a_mapping_that_has_just_expired_is_no_mapping_any_more() -> None:
    box = nat(
        allocation=Allocation.SEQUENTIAL, timeouts=Timeouts(udp=10, udp_stream=10),
        mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT,
    )  # fmt: skip
    first = leave(box, 0, INSIDE, REMOTE)
    assert leave(box, 9.75, INSIDE, REMOTE) == first
    assert leave(box, 19.75, INSIDE, REMOTE) != first


def test_an_error_reaches_a_host_that_no_nat_hides() -> None:
    open_ = nat(mapping=Mapping.NONE, filtering=Filtering.ENDPOINT_INDEPENDENT)
    assert open_.axes.plain
    assert open_.error(0, REMOTE, INSIDE, reset=False) == Enters(INSIDE, REMOTE, None)
    assert isinstance(nat().error(0, REMOTE, EXTERNAL, reset=False), Dropped)


# -- TCP's sequence numbers --------------------------------------------------


def segment(kind: Kind, isn: str, source: Place, destination: Place) -> Packet:
    return Packet(Protocol.TCP, source, destination, kind, source.address, isn=isn)


class Flow:
    """Segments between INSIDE and REMOTE, at a NAT; each method says whether one passes."""

    def __init__(self) -> None:
        self.box = nat(Protocol.TCP)

    def out(self, kind: Kind, isn: str) -> bool:
        one = segment(kind, isn, INSIDE, REMOTE)
        return isinstance(self.box.outgoing(0.0, INSIDE, REMOTE, one), Leaves)

    def back(self, kind: Kind, isn: str) -> bool:
        one = segment(kind, isn, REMOTE, EXTERNAL)
        return isinstance(self.box.incoming(0.0, REMOTE, EXTERNAL, one), Enters)

    def refused(self, *, reset: bool) -> None:
        self.box.error(0.0, REMOTE, EXTERNAL, reset=reset)


def test_a_simultaneous_open_passes() -> None:
    flow = Flow()
    assert flow.out(Kind.SYN, "a1")
    assert flow.back(Kind.SYN, "b1")
    assert flow.out(Kind.SYN_ACK, "a1")
    assert flow.back(Kind.SYN_ACK, "b1")


def test_a_new_syn_may_follow_one_that_nobody_answered() -> None:
    flow = Flow()
    assert flow.out(Kind.SYN, "a1")
    assert flow.out(Kind.SYN, "a2")
    assert flow.back(Kind.SYN, "b1")
    assert flow.out(Kind.SYN_ACK, "a2")


@pytest.mark.parametrize("kind", [Kind.SYN_ACK, Kind.SYN])
def test_once_a_syn_has_come_back_another_number_than_the_first_syns_is_invalid(
    kind: Kind,
) -> None:
    flow = Flow()
    assert flow.out(Kind.SYN, "a1")
    flow.refused(reset=False)  # an ICMP error, which leaves the session
    assert flow.back(Kind.SYN, "b1")
    assert not flow.out(kind, "a2")
    assert not flow.back(kind, "b2")


def test_an_rst_for_the_syn_leaves_nothing_that_the_next_would_have_to_follow() -> None:
    flow = Flow()
    assert flow.out(Kind.SYN, "a1")
    flow.refused(reset=True)
    assert not flow.back(Kind.SYN, "b1")
    assert flow.out(Kind.SYN, "a2")
    assert flow.back(Kind.SYN, "b2")
    assert flow.out(Kind.SYN_ACK, "a2")


def test_an_rst_after_the_syns_crossed_lets_others_begin() -> None:
    flow = Flow()
    assert flow.out(Kind.SYN, "a1")
    assert flow.back(Kind.SYN, "b1")
    flow.refused(reset=True)
    assert flow.out(Kind.SYN, "a2")


def pooled(pooling: Pooling, **axes: object) -> TransportNat:
    behaviour = Behaviour(udp=replace(Transport(), **axes), pooling=pooling)  # type: ignore[arg-type]
    return TransportNat("nat", Protocol.UDP, behaviour, ["nat", "nat#1", "nat#2"], ["a", "b"])


def test_paired_pooling_gives_each_host_one_address() -> None:
    box = pooled(Pooling.PAIRED, mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT)
    seen = [
        (i.address, leave(box, 0, i, r).address)
        for i in (INSIDE, NEIGHBOUR)
        for r in (REMOTE, STRANGER)
    ]
    assert set(seen) == {("a", "nat"), ("b", "nat#1")}


def test_arbitrary_pooling_gives_each_mapping_the_next_address() -> None:
    box = pooled(Pooling.ARBITRARY)
    first = [leave(box, 0, Place("a", p), REMOTE).address for p in (1, 2, 3, 4)]
    assert first == ["nat", "nat#1", "nat#2", "nat"]
    assert leave(box, 0, Place("a", 2), STRANGER).address == "nat#1"  # the same mapping
    assert not admitted(box, 0, REMOTE, Place("nat", 2))  # another address of the pool


def test_two_hosts_keep_one_port_on_two_addresses() -> None:
    box = pooled(Pooling.PAIRED)
    assert [leave(box, 0, i, REMOTE).port for i in (INSIDE, NEIGHBOUR)] == [4001, 4001]
