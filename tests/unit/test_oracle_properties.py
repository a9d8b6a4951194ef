"""What must hold of every prediction, whatever the NATs."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.model.behaviour import (
    Allocation,
    Behaviour,
    Filtering,
    Hairpin,
    Mapping,
    Transport,
    Unsolicited,
    WanInput,
)
from testbed.model.outcome import Outcome
from testbed.model.topology import INTERNET, Host, Link, Network, Router, Scope, Topology
from testbed.predict.ice import ICE, ICE_RELAY_ONLY
from testbed.predict.model import Model
from testbed.predict.prediction import predict
from testbed.predict.punching import NO_PUNCH, PLAIN_DIAL_UDP, PUNCH_TCP, PUNCH_UDP

ACCESS = Link.both(delay_ms=10)
HOMES = Topology(
    "test",
    networks=(
        Network(INTERNET, Scope.PUBLIC),
        Network("lan-a", Scope.PRIVATE),
        Network("lan-b", Scope.PRIVATE),
    ),
    routers=(
        Router("nat-a", INTERNET, "lan-a", "", link=ACCESS),
        Router("nat-b", INTERNET, "lan-b", "", link=ACCESS),
    ),
    hosts=(Host("a", "lan-a"), Host("b", "lan-b"), Host("server", INTERNET, link=ACCESS)),
)
WIDER = [
    Filtering.ADDRESS_AND_PORT_DEPENDENT,
    Filtering.ADDRESS_DEPENDENT,
    Filtering.ENDPOINT_INDEPENDENT,
]
SYMMETRIC = [PUNCH_UDP, PUNCH_TCP, ICE, ICE_RELAY_ONLY]


@st.composite
def behaviours(draw: st.DrawFn, *, early_packets_kept: bool = True) -> Behaviour:
    transport = st.builds(
        Transport,
        mapping=st.sampled_from(list(Mapping)[1:]),
        filtering=st.sampled_from(list(Filtering)),
        allocation=st.sampled_from(list(Allocation)),
        overloading=st.booleans(),
        unsolicited=st.sampled_from(list(Unsolicited)),
        blocked=st.sampled_from([False, False, False, True]),
    )
    wan_input = st.sampled_from(list(WanInput)) if early_packets_kept else st.just(WanInput.DROP)
    return Behaviour(
        udp=draw(transport),
        tcp=draw(transport),
        hairpin=draw(st.sampled_from(list(Hairpin))),
        wan_input=draw(wan_input),
        quota=draw(st.sampled_from([None, None, 1, 2])),
    )


def outcome(
    a: Behaviour, b: Behaviour, mechanism: Model, *, back: bool = False, skew_ms: float = 0
) -> Outcome:
    dialer, listener = ("b", "a") if back else ("a", "b")
    nats = {"nat-a": a, "nat-b": b}
    return predict(HOMES, nats, mechanism, dialer, listener, skew_ms=skew_ms).outcome


def widen(behaviour: Behaviour, filtering: Filtering) -> Behaviour:
    udp = replace(behaviour.udp, filtering=max(behaviour.udp.filtering, filtering, key=WIDER.index))
    return replace(behaviour, udp=udp)


skews = st.sampled_from([0.0, 10.0, 25.0, 400.0, -10.0, -400.0])


@settings(max_examples=150, deadline=None)
@given(behaviours(), behaviours(), st.sampled_from(SYMMETRIC), skews)
def test_the_roles_may_be_swapped(
    a: Behaviour, b: Behaviour, mechanism: Model, skew_ms: float
) -> None:
    forth = outcome(a, b, mechanism, skew_ms=skew_ms)
    assert outcome(a, b, mechanism, back=True, skew_ms=-skew_ms) is forth


@settings(max_examples=150, deadline=None)
@given(behaviours(), behaviours(), st.sampled_from(SYMMETRIC), skews)
def test_the_homes_may_be_swapped(
    a: Behaviour, b: Behaviour, mechanism: Model, skew_ms: float
) -> None:
    forth = outcome(a, b, mechanism, skew_ms=skew_ms)
    assert outcome(b, a, mechanism, skew_ms=-skew_ms) is forth


@settings(max_examples=150, deadline=None)
@given(behaviours(), behaviours(), st.sampled_from(WIDER), skews)
def test_a_wider_udp_filter_never_prevents_a_punch(
    a: Behaviour, b: Behaviour, filtering: Filtering, skew_ms: float
) -> None:
    if outcome(a, b, PUNCH_UDP, skew_ms=skew_ms) is Outcome.DIRECT:
        wider = outcome(widen(a, filtering), b, PUNCH_UDP, skew_ms=skew_ms)
        assert wider is Outcome.DIRECT


@settings(max_examples=150, deadline=None)
@given(behaviours(early_packets_kept=False), behaviours(early_packets_kept=False), skews)
def test_skew_does_not_matter_to_udp_where_early_packets_are_dropped(
    a: Behaviour, b: Behaviour, skew_ms: float
) -> None:
    if a.quota is None and b.quota is None:
        skewed = outcome(a, b, PUNCH_UDP, skew_ms=skew_ms)
        assert skewed is outcome(a, b, PUNCH_UDP)


@settings(max_examples=100, deadline=None)
@given(behaviours(), behaviours())
def test_a_plain_dial_that_passes_means_a_punch_that_does(a: Behaviour, b: Behaviour) -> None:
    if outcome(a, b, PLAIN_DIAL_UDP) is Outcome.DIRECT and not a.udp.blocked:
        generous = replace(a, quota=None)  # a dialer that punches also asks the STUN server
        assert outcome(generous, b, PUNCH_UDP) is Outcome.DIRECT


@settings(max_examples=100, deadline=None)
@given(behaviours(), behaviours())
def test_with_punching_off_nothing_goes_direct(a: Behaviour, b: Behaviour) -> None:
    for mechanism in (NO_PUNCH, ICE_RELAY_ONLY):
        assert outcome(a, b, mechanism) is not Outcome.DIRECT


def test_the_widening_property_would_notice_a_filter_that_narrows() -> None:
    """Negative control: the same comparison, with the narrowing done on purpose."""
    pair = Behaviour(udp=Transport(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT))
    open_ = widen(Behaviour(), Filtering.ENDPOINT_INDEPENDENT)
    assert outcome(open_, pair, PUNCH_UDP) is Outcome.DIRECT
    with pytest.raises(AssertionError):
        assert outcome(Behaviour(), pair, PUNCH_UDP) is Outcome.DIRECT
