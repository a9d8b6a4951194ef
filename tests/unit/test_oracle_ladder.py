"""The ladder's rung, as the oracle has it: each case with the reason by hand."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from testbed.model.behaviour import Behaviour, Hairpin, PortMapping, Protocol, Transport
from testbed.model.outcome import Outcome, Rung
from testbed.model.prediction import Prediction
from testbed.model.presets import ACCESS, carrier, home_and_public, libp2p
from testbed.model.reason import Climbed, Passed, Unrelayed
from testbed.model.topology import INTERNET, Host, Topology
from testbed.nat.load import catalogue
from testbed.predict import ladder
from testbed.predict.ladder import LADDER_QUIC, LADDER_TCP
from testbed.predict.model import Model
from testbed.predict.prediction import predict
from testbed.words import sentence

TCP, QUIC = LADDER_TCP, LADDER_QUIC
BOTH = pytest.mark.parametrize("mechanism", [TCP, QUIC])
OFFERED = PortMapping(pcp=True)
PROFILES = {name: profile.behaviour for name, profile in catalogue().items()}
EVERY = ("full-cone", "restricted-cone", "port-restricted", "symmetric", "linux-home", "sequential")


def serving(behaviour: Behaviour) -> Behaviour:
    """The same NAT with a port-mapping service."""
    return replace(behaviour, port_mapping=OFFERED)


def of(
    a: Behaviour, b: Behaviour, mechanism: Model, topology: Topology | None = None
) -> Prediction:
    return predict(topology or libp2p(), {"nat-a": a, "nat-b": b}, mechanism, "a", "b")


def named(
    a: str, b: str, mechanism: Model, *, maps: str = "", lab: Topology | None = None
) -> Rung | None:
    """``maps`` has the letters of the sides whose router maps ports."""
    ends = {side: PROFILES[name] for side, name in (("a", a), ("b", b))}
    mapped = {side: serving(one) if side in maps else one for side, one in ends.items()}
    return of(mapped["a"], mapped["b"], mechanism, lab).rung


# -- a mapping ------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("a", EVERY)
@pytest.mark.parametrize("b", EVERY)
def test_a_mapped_listener_is_dialed_by_everybody(a: str, b: str, mechanism: Model) -> None:
    assert named(a, b, mechanism, maps="b") is Rung.DIRECT
    assert named(a, b, mechanism, maps="ab") is Rung.DIRECT


@BOTH
@pytest.mark.parametrize("a", EVERY)
def test_a_mapped_dialer_is_dialed_back_by_a_listener_that_cannot_be_dialed(
    a: str, mechanism: Model
) -> None:
    assert named(a, "symmetric", mechanism, maps="a") is Rung.REVERSED
    assert named(a, "linux-home", mechanism, maps="a") is Rung.REVERSED


@BOTH
def test_without_a_service_the_same_pairs_punch_or_relay(mechanism: Model) -> None:
    """The control of the two above."""
    assert named("linux-home", "linux-home", mechanism) is Rung.PUNCHED
    assert named("linux-home", "symmetric", mechanism) is Rung.RELAYED
    assert named("symmetric", "symmetric", mechanism) is Rung.RELAYED


@BOTH
def test_a_service_makes_no_pair_worse(mechanism: Model) -> None:
    order = [*Rung]
    for a in EVERY:
        for b in EVERY:
            plain, mapped = named(a, b, mechanism), named(a, b, mechanism, maps="a")
            assert plain is not None
            assert mapped is not None
            assert order.index(mapped) <= order.index(plain), (a, b)


def test_a_mapping_is_a_forward_in_the_place_of_one_that_was_there() -> None:
    lab, nats = libp2p(), {"nat-a": serving(Behaviour()), "nat-b": Behaviour()}
    found = ladder.with_mappings(lab, nats, ("a", "b"))
    assert {(f.protocol, f.external_port) for f in found["nat-a"].forwards} == {
        (Protocol.UDP, 4001),
        (Protocol.TCP, 4001),
    }
    assert found["nat-b"] == nats["nat-b"]
    assert ladder.with_mappings(lab, found, ("a", "b")) == found


# -- proof ------------------------------------------------------------------------


@BOTH
def test_an_open_address_is_dialed_only_once_three_public_nodes_have_proved_it(
    mechanism: Model,
) -> None:
    assert named("linux-home", "full-cone", mechanism) is Rung.DIRECT
    for observers, expected in ((2, Rung.DIRECT), (1, Rung.PUNCHED), (0, Rung.PUNCHED)):
        kept = libp2p().hosts[: 3 + observers]  # a, b, the relay
        fewer = replace(libp2p(), hosts=kept)
        assert named("linux-home", "full-cone", mechanism, lab=fewer) is expected, observers


def test_a_filter_by_address_deceives_the_proof_and_the_dials_in_vain_open_it() -> None:
    """AutoNAT's servers were contacted before.  QUIC dials from the port that is dialed back;

    TCP's dials leave from a fresh one, whose mapping is another.
    """
    assert named("restricted-cone", "restricted-cone", QUIC) is Rung.REVERSED
    assert named("restricted-cone", "restricted-cone", TCP) is Rung.PUNCHED
    assert named("restricted-cone", "symmetric", TCP) is Rung.PUNCHED
    assert named("restricted-cone", "symmetric", QUIC) is Rung.RELAYED


@BOTH
def test_a_mapping_needs_no_proof(mechanism: Model) -> None:
    alone = replace(libp2p(), hosts=libp2p().hosts[:3])
    assert named("symmetric", "symmetric", mechanism, maps="b", lab=alone) is Rung.DIRECT


# -- where a mapping is of no use ---------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("hairpin", "expected"),
    [(Hairpin.NONE, Rung.RELAYED), (Hairpin.EXTERNAL_SOURCE, Rung.PUNCHED)],
)
def test_under_a_carrier_nat_a_mapping_is_useless_and_the_hairpin_decides(
    hairpin: Hairpin, expected: Rung, mechanism: Model
) -> None:
    home = serving(PROFILES["linux-home"])
    nats = {"cgn": replace(PROFILES["carrier-grade"], hairpin=hairpin)}
    nats |= {"nat-a": home, "nat-b": home}
    got = predict(carrier(), nats, mechanism, "a", "b")
    assert got.rung is expected
    plain = nats | {"nat-a": PROFILES["linux-home"], "nat-b": PROFILES["linux-home"]}
    assert predict(carrier(), plain, mechanism, "a", "b").rung is expected


def test_a_router_that_lets_nothing_out_has_no_use_for_a_mapping() -> None:
    blocked = replace(Transport(), blocked=True)
    nat = serving(Behaviour(udp=blocked))
    assert not [
        f
        for f in ladder.with_mappings(libp2p(), {"nat-a": nat, "nat-b": nat}, ("a",))[
            "nat-a"
        ].forwards
        if f.protocol is Protocol.UDP
    ]
    got = of(Behaviour(), nat, QUIC)
    assert (got.outcome, got.rung) == (Outcome.NONE, None)
    assert isinstance(got.reason, Unrelayed)
    assert of(Behaviour(), nat, TCP).rung is Rung.DIRECT


# -- public ends ---------------------------------------------------------------------


@BOTH
def test_a_public_listener_is_dialed_and_a_public_dialer_dialed_back(mechanism: Model) -> None:
    lab = home_and_public()
    worst: Mapping[str, Behaviour] = {"nat-a": PROFILES["symmetric"]}
    assert predict(lab, worst, mechanism, "a", "b").rung is Rung.DIRECT
    assert predict(lab, worst, mechanism, "b", "a").rung is Rung.REVERSED


@BOTH
def test_two_public_ends_need_no_ladder(mechanism: Model) -> None:
    lab = home_and_public()
    third = Host("c", INTERNET, link=ACCESS)
    lab = replace(lab, hosts=(*lab.hosts, third))
    got = predict(lab, {"nat-a": Behaviour()}, mechanism, "b", "c")
    assert got.rung is Rung.DIRECT
    assert got.reason == Climbed(Rung.DIRECT, Passed("b", ()))


@BOTH
def test_the_trace_has_the_rungs_in_their_order(mechanism: Model) -> None:
    lines = [sentence(step) for step in of(Behaviour(), Behaviour(), mechanism).trace]
    first = [
        next(i for i, line in enumerate(lines) if line.startswith(word))
        for word in ("observed address", "circuit a:4001", "CONNECT b:4011", "SYNC b:4011")
    ]
    assert first == sorted(first)
