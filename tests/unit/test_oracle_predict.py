"""Whole predictions: the known tables, the end-to-end cases, the traps."""

import re
from dataclasses import replace

import pytest

from testbed.errors import ProfileError, TopologyError, UsageError
from testbed.model.behaviour import (
    Allocation,
    Behaviour,
    Filtering,
    Forward,
    Hairpin,
    Mapping,
    Protocol,
    Transport,
    Unsolicited,
    WanInput,
)
from testbed.model.outcome import Outcome
from testbed.model.prediction import Prediction
from testbed.model.reason import CheckAnswered, Lost, WayLost
from testbed.model.topology import INTERNET, Host, Link, Network, Router, Scope, Topology
from testbed.model.trace import Kind, Place, TraceStep, Unfollowed, Verb
from testbed.predict.ice import ICE, ICE_RELAY_ONLY
from testbed.predict.model import Model
from testbed.predict.prediction import predict
from testbed.predict.punching import NO_PUNCH, PLAIN_DIAL_TCP, PLAIN_DIAL_UDP, PUNCH_TCP, PUNCH_UDP
from testbed.words import sentence

ACCESS = Link.both(delay_ms=10)
MAPPINGS = {
    "EIM": Mapping.ENDPOINT_INDEPENDENT,
    "ADM": Mapping.ADDRESS_DEPENDENT,
    "APDM": Mapping.ADDRESS_AND_PORT_DEPENDENT,
}
FILTERS = {
    "EIF": Filtering.ENDPOINT_INDEPENDENT,
    "ADF": Filtering.ADDRESS_DEPENDENT,
    "APDF": Filtering.ADDRESS_AND_PORT_DEPENDENT,
}
NINE = [f"{mapping}/{filtering}" for mapping in MAPPINGS for filtering in FILTERS]
PUNCHES = [PUNCH_UDP, PUNCH_TCP]


def box(pair: str = "EIM/APDF", **changes: object) -> Behaviour:
    """One of the nine pairs for UDP and TCP; keywords as in `Behaviour`."""
    mapping, filtering = pair.split("/")
    preserving = mapping == "EIM"
    transport = Transport(
        mapping=MAPPINGS[mapping],
        filtering=FILTERS[filtering],
        allocation=Allocation.PRESERVING if preserving else Allocation.RANDOM,
    )
    return replace(Behaviour(udp=transport, tcp=transport), **changes)  # type: ignore[arg-type]


def answering(unsolicited: Unsolicited) -> Behaviour:
    transport = Transport(unsolicited=unsolicited)
    return Behaviour(udp=transport, tcp=transport)


def udp_blocked() -> Behaviour:
    return replace(box(), udp=Transport(blocked=True))


def lab(*routers: Router, a: str = "lan-a", b: str = "lan-b") -> Topology:
    """Hosts ``a`` and ``b`` on the given networks, behind ``routers``."""
    inside = dict.fromkeys(router.lan for router in routers)
    return Topology(
        "test",
        networks=(
            Network(INTERNET, Scope.PUBLIC),
            *(Network(name, Scope.PRIVATE) for name in inside),
        ),
        routers=routers,
        hosts=(
            Host("a", a, link=ACCESS if a == INTERNET else Link()),
            Host("b", b, link=ACCESS if b == INTERNET else Link()),
            Host("server", INTERNET, addresses=2, link=ACCESS),
        ),
    )


NAT_A = Router("nat-a", INTERNET, "lan-a", "", link=ACCESS)
NAT_B = Router("nat-b", INTERNET, "lan-b", "", link=ACCESS)
HOMES = lab(NAT_A, NAT_B)
ONE_LAN = lab(NAT_A, b="lan-a")
TO_PUBLIC = lab(NAT_A, b=INTERNET)
CARRIER = lab(
    Router("cgn", INTERNET, "access", "", link=ACCESS),
    Router("nat-a", "access", "lan-a", ""),
    Router("nat-b", "access", "lan-b", ""),
)


def homes(a: Behaviour, b: Behaviour, mechanism: Model, *, skew_ms: float = 0.0) -> Prediction:
    return predict(HOMES, {"nat-a": a, "nat-b": b}, mechanism, "a", "b", skew_ms=skew_ms)


def punchable(one: str, other: str) -> bool:
    """The textbook rule, derived apart from the model.

    A side's signalled mapping is reached if its filter is endpoint-independent; or
    if it is the endpoint-independent mapping that it also probes from, and the
    filter knows the other's address (ADF), or its very port (APDF), which holds
    only if the other probes from the port that it signalled.
    """

    def reached(target: str, source: str) -> bool:
        mapping, filtering = target.split("/")
        if filtering == "EIF":
            return True
        return mapping == "EIM" and (filtering == "ADF" or source.startswith("EIM"))

    return reached(one, other) or reached(other, one)


@pytest.mark.parametrize("mechanism", PUNCHES)
@pytest.mark.parametrize("a", NINE)
def test_punching_follows_the_textbook_rule_in_all_81_pairs(a: str, mechanism: Model) -> None:
    got = {b: homes(box(a), box(b), mechanism).outcome is Outcome.DIRECT for b in NINE}
    assert got == {b: punchable(a, b) for b in NINE}


@pytest.mark.parametrize("a", NINE)
def test_ice_is_direct_where_punching_is_and_relayed_elsewhere(a: str) -> None:
    for b in NINE:
        expected = Outcome.DIRECT if punchable(a, b) else Outcome.RELAYED
        assert homes(box(a), box(b), ICE).outcome is expected, b


@pytest.mark.parametrize("listener", NINE)
def test_a_plain_dial_passes_an_endpoint_independent_filter_alone(listener: str) -> None:
    expected = Outcome.DIRECT if listener.endswith("/EIF") else Outcome.NONE
    for mechanism in (PLAIN_DIAL_UDP, PLAIN_DIAL_TCP):
        assert homes(box(), box(listener), mechanism).outcome is expected


def test_the_controls_stay_off_the_direct_path() -> None:
    open_ = box("EIM/EIF")
    assert homes(open_, open_, NO_PUNCH).outcome is Outcome.NONE
    assert homes(open_, open_, ICE_RELAY_ONLY).outcome is Outcome.RELAYED


def test_a_public_listener_is_dialled_directly() -> None:
    for mechanism in (PLAIN_DIAL_UDP, PLAIN_DIAL_TCP):
        there = predict(TO_PUBLIC, {"nat-a": box("APDM/APDF")}, mechanism, "a", "b")
        back = predict(TO_PUBLIC, {"nat-a": box("APDM/APDF")}, mechanism, "b", "a")
        assert (there.outcome, back.outcome) == (Outcome.DIRECT, Outcome.NONE)


def test_a_forward_lets_a_plain_dial_in() -> None:
    forward = tuple(Forward(protocol, 4011, 0, 4011) for protocol in Protocol)
    for mechanism in (PLAIN_DIAL_UDP, PLAIN_DIAL_TCP):
        assert homes(box(), box(forwards=forward), mechanism).outcome is Outcome.DIRECT
        assert homes(box(), box(), mechanism).outcome is Outcome.NONE


# -- early packets --------------------------------------------------------


@pytest.mark.parametrize("skew_ms", [0, 15, 25, -25, 400])
def test_wan_input_accept_breaks_udp_once_the_skew_exceeds_the_way(skew_ms: float) -> None:
    naive = box(wan_input=WanInput.ACCEPT)
    one_way_ms = 20
    expected = Outcome.NONE if abs(skew_ms) > one_way_ms else Outcome.DIRECT
    assert homes(naive, naive, PUNCH_UDP, skew_ms=skew_ms).outcome is expected
    assert homes(box(), box(), PUNCH_UDP, skew_ms=skew_ms).outcome is Outcome.DIRECT


def test_the_reason_of_an_early_packet_names_it() -> None:
    naive = box(wan_input=WanInput.ACCEPT)
    why = homes(naive, naive, PUNCH_UDP, skew_ms=400).reason
    assert isinstance(why, Lost)
    assert "nat-b took an early packet of nat-a:4001 itself" in sentence(why)


@pytest.mark.parametrize(
    ("answerer", "fails"),
    [
        (answering(Unsolicited.RESET), True),
        (box(wan_input=WanInput.ACCEPT), True),
        (answering(Unsolicited.ICMP), True),
        (answering(Unsolicited.DROP), False),
    ],
)
def test_a_refusal_of_the_early_syn_breaks_a_skewed_tcp_punch(
    answerer: Behaviour, fails: bool
) -> None:
    expected = Outcome.NONE if fails else Outcome.DIRECT
    assert homes(answerer, answerer, PUNCH_TCP, skew_ms=400).outcome is expected
    assert homes(answerer, answerer, PUNCH_TCP, skew_ms=5).outcome is Outcome.DIRECT


def test_one_silent_side_saves_a_skewed_tcp_punch() -> None:
    silent, rude = box(), answering(Unsolicited.RESET)
    assert homes(silent, rude, PUNCH_TCP, skew_ms=400).outcome is Outcome.DIRECT


def test_after_icmp_the_late_syn_gets_in_and_its_answer_not_out() -> None:
    """The session that the refused SYN left behind holds its side to that SYN's number."""
    icmp = answering(Unsolicited.ICMP)
    late = homes(icmp, icmp, PUNCH_TCP, skew_ms=400)
    entered = TraceStep(
        Kind.SYN,
        None,
        Place("nat-b", 4011),
        Place("nat-a", 4001),
        Verb.ENTERS,
        "nat-a",
        Place("a", 4001),
    )
    assert entered in late.trace
    assert sentence(entered) == "SYN nat-b:4011 > nat-a:4001: enters nat-a for a:4001"
    assert isinstance(late.reason, Lost)
    drops = [way.loss.drop for way in late.reason.ways if isinstance(way, WayLost)]
    assert Unfollowed("nat-a") in drops


def test_icmp_for_early_datagrams_does_no_harm() -> None:
    icmp = answering(Unsolicited.ICMP)
    assert homes(icmp, icmp, PUNCH_UDP, skew_ms=400).outcome is Outcome.DIRECT


# -- what is not let out ---------------------------------------------------


def test_blocked_udp_leaves_tcp_punching_and_the_relay() -> None:
    blocked = udp_blocked()
    assert homes(blocked, box(), PUNCH_UDP).outcome is Outcome.NONE
    assert homes(blocked, box(), PUNCH_TCP).outcome is Outcome.DIRECT
    assert homes(blocked, box(), ICE).outcome is Outcome.RELAYED
    assert homes(blocked, blocked, ICE).outcome is Outcome.RELAYED
    assert "forwards no UDP out" in sentence(homes(blocked, box(), PUNCH_UDP).reason)


def test_a_side_without_any_relay_is_reached_by_the_other_sides() -> None:
    no_tcp = replace(box("APDM/APDF"), tcp=Transport(blocked=True))
    assert homes(no_tcp, box("APDM/APDF"), ICE).outcome is Outcome.RELAYED
    assert homes(no_tcp, no_tcp, ICE).outcome is Outcome.NONE
    nothing = Behaviour(udp=Transport(blocked=True), tcp=Transport(blocked=True))
    assert homes(nothing, box(), ICE).outcome is Outcome.NONE


def test_a_proxy_like_firewall_lets_turn_on_443_through_and_nothing_else() -> None:
    web = Transport(allowed_ports=(80, 443))
    corporate = Behaviour(udp=Transport(blocked=True), tcp=web)
    assert homes(corporate, box(), PUNCH_TCP).outcome is Outcome.NONE
    assert homes(corporate, box(), ICE).outcome is Outcome.RELAYED


def test_a_spent_quota_stops_a_second_mapping() -> None:
    tight = box("APDM/EIF", quota=1)
    assert homes(tight, box("APDM/APDF"), PUNCH_UDP).outcome is Outcome.DIRECT
    assert homes(tight, tight, PUNCH_UDP).outcome is Outcome.NONE
    assert "all in use" in sentence(homes(tight, tight, PUNCH_UDP).reason)


def test_a_peer_that_learns_no_address_is_never_dialled() -> None:
    """The port that the peers use may be open: without STUN there is nothing to signal."""
    only_peers = Behaviour(udp=Transport(allowed_ports=(4001,)), tcp=Transport())
    got = homes(only_peers, box("EIM/EIF"), PUNCH_UDP)
    assert got.outcome is Outcome.NONE
    told = sentence(got.reason)
    assert told.startswith("a learns no mapped UDP address: nat-a lets UDP out to ports 4001")


def test_a_quota_counts_the_stun_query_of_a_dialer_too() -> None:
    for quota, expected in ((1, Outcome.NONE), (2, Outcome.DIRECT)):
        got = homes(box(quota=quota), box("EIM/EIF"), PLAIN_DIAL_UDP)
        assert got.outcome is expected


def test_ice_prefers_a_direct_pair_that_needs_a_second_check() -> None:
    """The first check of the early side is dropped, a relayed pair would answer sooner."""
    assert homes(box(), box(), ICE, skew_ms=400).outcome is Outcome.DIRECT
    late = homes(box(), box("APDM/APDF"), ICE, skew_ms=400)
    assert late.outcome is Outcome.RELAYED


# -- one NAT, two NATs -----------------------------------------------------


@pytest.mark.parametrize("mechanism", PUNCHES)
def test_behind_one_nat_the_public_address_needs_a_hairpin(mechanism: Model) -> None:
    for hairpin, expected in (
        (Hairpin.NONE, Outcome.NONE),
        (Hairpin.EXTERNAL_SOURCE, Outcome.DIRECT),
    ):
        got = predict(ONE_LAN, {"nat-a": box(hairpin=hairpin)}, mechanism, "a", "b")
        assert got.outcome is expected


def test_a_hairpin_with_internal_source_serves_a_prober_but_no_tcp() -> None:
    behaviours = {"nat-a": box(hairpin=Hairpin.INTERNAL_SOURCE)}
    udp = predict(ONE_LAN, behaviours, PUNCH_UDP, "a", "b")
    tcp = predict(ONE_LAN, behaviours, PUNCH_TCP, "a", "b")
    assert (udp.outcome, tcp.outcome) == (Outcome.DIRECT, Outcome.NONE)


def test_behind_one_nat_ice_meets_on_the_lan() -> None:
    got = predict(ONE_LAN, {"nat-a": box("APDM/APDF")}, ICE, "a", "b")
    assert got.outcome is Outcome.DIRECT
    assert isinstance(got.reason, CheckAnswered)
    assert not got.reason.notes


@pytest.mark.parametrize("mechanism", PUNCHES)
def test_under_one_carrier_nat_the_carrier_must_hairpin(mechanism: Model) -> None:
    for hairpin, expected in (
        (Hairpin.NONE, Outcome.NONE),
        (Hairpin.EXTERNAL_SOURCE, Outcome.DIRECT),
    ):
        behaviours = {"cgn": box("EIM/EIF", hairpin=hairpin), "nat-a": box(), "nat-b": box()}
        assert predict(CARRIER, behaviours, mechanism, "a", "b").outcome is expected


def test_two_nats_on_one_side_are_punched_like_one() -> None:
    double = lab(
        Router("cgn", INTERNET, "access", "", link=ACCESS),
        Router("nat-a", "access", "lan-a", ""),
        NAT_B,
    )
    for carrier, expected in (("EIM/APDF", Outcome.DIRECT), ("APDM/APDF", Outcome.NONE)):
        behaviours = {"cgn": box(carrier), "nat-a": box(), "nat-b": box()}
        got = predict(double, behaviours, PUNCH_UDP, "a", "b")
        assert got.outcome is expected


def test_a_firewall_without_translation_is_punched() -> None:
    axes = Transport(mapping=Mapping.NONE)
    firewall = Behaviour(udp=axes, tcp=axes)
    for mechanism in (*PUNCHES, ICE):
        assert homes(firewall, box(), mechanism).outcome is Outcome.DIRECT
    assert homes(box(), firewall, PLAIN_DIAL_UDP).outcome is Outcome.NONE


# -- the interface ---------------------------------------------------------


def test_a_failure_names_the_mapping_and_the_filter_that_decide() -> None:
    why = sentence(homes(box(), box("APDM/APDF"), PUNCH_UDP).reason)
    assert "nat-b maps a new port for the second destination" in why
    assert "nat-a filters by address and port" in why


def test_equal_behaviours_are_predicted_once_whatever_the_profiles_name() -> None:
    renamed = replace(HOMES, routers=tuple(replace(r, profile="other") for r in HOMES.routers))
    behaviours = {"nat-a": box(), "nat-b": box()}
    first = predict(HOMES, behaviours, ICE, "a", "b")
    assert predict(renamed, behaviours, ICE, "a", "b") is first


def test_wrong_questions_are_refused_by_name() -> None:
    behaviours = {"nat-a": box(), "nat-b": box()}
    with pytest.raises(TopologyError, match="unknown node 'c'"):
        predict(HOMES, behaviours, ICE, "a", "c")
    with pytest.raises(UsageError, match="three hosts"):
        predict(HOMES, behaviours, ICE, "a", "a")
    with pytest.raises(ProfileError, match="nat-b"):
        predict(HOMES, {"nat-a": box()}, ICE, "a", "b")


def test_a_port_of_the_model_has_a_star_that_is_explained_once() -> None:
    drawn = homes(box("APDM/APDF"), box(), PUNCH_UDP).reason
    words = sentence(drawn)
    assert re.search(r"nat-a:\d+\*", words)
    assert words.count("(*: the model's own port, on the wire it is another)") == 1
    assert "*" not in sentence(homes(box(), box(), PUNCH_UDP).reason)
