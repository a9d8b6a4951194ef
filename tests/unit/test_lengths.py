"""A link that loses what is too long, and tells nobody: predicted, read off the wire, explained."""

from dataclasses import replace

import pytest
from made_worlds import world
from test_verdict import Wire

from testbed.model.breach import Claim, FalseClaim
from testbed.model.outcome import Outcome
from testbed.model.path import BytesMissing, Swallowed, Traffic
from testbed.model.prediction import Prediction
from testbed.model.presets import preset
from testbed.model.reason import Climbed, Unrelayed
from testbed.model.reason import Swallowed as TooLongAnEcho
from testbed.model.topology import Impairment, Link, Topology
from testbed.model.trace import Loss, NotFragmented, TooLong
from testbed.model.verdict import Judgement
from testbed.model.window import Window
from testbed.nat.load import catalogue
from testbed.predict.dcutr import DCUTR_OFF, DCUTR_QUIC, DCUTR_TCP
from testbed.predict.ice import ICE
from testbed.predict.ladder import LADDER_TCP
from testbed.predict.model import Model, Openings
from testbed.predict.prediction import predict
from testbed.predict.punching import PUNCH_TCP, PUNCH_UDP
from testbed.stacks.adapter import Opening
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import prediction
from testbed.verdict.judge import judge
from testbed.words import sentence

CATALOGUE = catalogue()
HOLE, TUNNEL, HOME = "mtu-black-hole", "mtu-1280-tunnel", "linux-home"
GO = Opening(1280)


def told(
    model: Model, topology: Topology | None = None, openings: Openings = (), nat: str = HOME
) -> Prediction:
    where = topology or preset(HOLE, nat, nat)
    known = {one.name: CATALOGUE[one.profile].behaviour for one in where.routers}
    return predict(where, known, model, "a", "b", openings=openings)


def linked(topology: Topology, node: str, link: Link) -> Topology:
    """``topology`` with another link at the first interface of ``node``."""
    routers = tuple(
        replace(one, link=link) if one.name == node else one for one in topology.routers
    )
    hosts = tuple(replace(one, link=link) if one.name == node else one for one in topology.hosts)
    return replace(topology, routers=routers, hosts=hosts)


def hole(largest: int) -> Topology:
    """Two homes, the first behind a link that loses what is longer."""
    way = Impairment(delay_ms=10, largest=largest)
    return linked(preset(HOLE), "nat-a", Link(way, way))


# -- the prediction -------------------------------------------------------------


def test_a_stream_of_tcp_does_not_get_through_where_both_are_connected() -> None:
    said = told(DCUTR_TCP)
    assert said.outcome is Outcome.NONE
    assert isinstance(said.reason, TooLongAnEcho)
    assert isinstance(said.reason.reason, Climbed)
    assert said.reason == TooLongAnEcho(said.reason.reason, Outcome.DIRECT, "a", "b", 1500, 1280)


@pytest.mark.parametrize("model", [DCUTR_TCP, DCUTR_OFF, LADDER_TCP])
def test_nor_does_it_by_a_relay(model: Model) -> None:
    said = told(model, nat="symmetric")
    assert said.outcome is Outcome.NONE
    assert isinstance(said.reason, TooLongAnEcho)
    assert said.reason.by is Outcome.RELAYED


@pytest.mark.parametrize("model", [PUNCH_UDP, PUNCH_TCP, ICE, DCUTR_QUIC])
def test_what_is_in_short_packets_gets_through(model: Model) -> None:
    assert told(model).outcome is Outcome.DIRECT


@pytest.mark.parametrize(
    ("model", "largest"), [(PUNCH_UDP, 1056), (ICE, 1056), (PUNCH_TCP, 1080), (DCUTR_QUIC, 1228)]
)
def test_the_limit_is_the_length_of_what_they_send(model: Model, largest: int) -> None:
    assert told(model, hole(largest)).outcome is Outcome.DIRECT
    assert told(model, hole(largest - 1)).outcome is Outcome.NONE


def test_a_quic_connection_is_not_opened_by_packets_that_are_too_long() -> None:
    said = told(DCUTR_QUIC, openings=(("a", GO),))
    assert said.outcome is Outcome.NONE
    assert said.reason == Unrelayed((("a", Loss((), TooLong(1308, 1280))),))


def test_a_server_whose_packets_are_too_long_is_not_heard() -> None:
    assert told(DCUTR_QUIC, openings=(("server", GO),)).outcome is Outcome.NONE
    assert told(DCUTR_QUIC, openings=(("server", Opening(1252)),)).outcome is Outcome.DIRECT


def test_of_two_that_are_relayed_the_one_with_long_packets_is_not_dialed() -> None:
    assert told(DCUTR_QUIC, openings=(("b", GO),)).outcome is Outcome.RELAYED


def test_a_tunnel_that_says_its_mtu_does_not_help_who_forbids_fragments() -> None:
    tunnel, whole = preset(TUNNEL, HOME, HOME), Opening(1280, whole=True)
    assert told(DCUTR_QUIC, tunnel, (("a", GO),)).outcome is Outcome.DIRECT
    said = told(DCUTR_QUIC, tunnel, (("a", whole),))
    assert said.outcome is Outcome.NONE
    assert said.reason == Unrelayed((("a", Loss((), NotFragmented(1308, 1280))),))
    assert "forbids fragments" in sentence(said.reason)
    assert told(DCUTR_QUIC, tunnel, (("b", whole),)).outcome is Outcome.RELAYED
    assert told(DCUTR_QUIC, tunnel, (("a", Opening(1252, whole=True)),)).outcome is Outcome.DIRECT


@pytest.mark.parametrize("node", ["a", "b"])
def test_an_end_whose_own_link_is_narrow_tells_the_other(node: str) -> None:
    narrow = linked(preset(HOLE), node, Link(mtu=1280))
    assert told(DCUTR_TCP, narrow).outcome is Outcome.DIRECT  # by the SYN's segment size


def test_who_is_told_behind_the_hole_is_never_told() -> None:
    behind = linked(preset(HOLE), "nat-b", Link(Impairment(), Impairment(), mtu=1280))
    assert told(DCUTR_TCP, behind).outcome is Outcome.NONE


def test_the_model_knows_how_long_the_packets_of_each_stack_are() -> None:
    pair = (HOME, HOME)
    ends = {
        peer: prediction(Cell(peer, pair, HOLE), CATALOGUE).outcome
        for peer in ("traversal-quic", "rust-quic", "go-quic", "traversal-tcp", "go-tcp")
    }
    assert ends == {
        "traversal-quic": Outcome.DIRECT,
        "rust-quic": Outcome.DIRECT,
        "go-quic": Outcome.NONE,
        "traversal-tcp": Outcome.NONE,
        "go-tcp": Outcome.NONE,
    }


def test_no_deviation_of_a_stack_makes_its_packets_shorter() -> None:
    pair = ("full-cone", "full-cone")
    assert prediction(Cell("traversal-quic+go-quic", pair), CATALOGUE).outcome is Outcome.DIRECT
    said = prediction(Cell("traversal-quic+go-quic", pair, HOLE), CATALOGUE)
    assert said.outcome is Outcome.RELAYED


# -- the wire -------------------------------------------------------------------

LONG = 1452  # bytes of payload; with its headers 1480
WINDOW = Window(0, 10**9, 2000)


@pytest.fixture(autouse=True)
def behind_the_hole() -> None:
    Wire.world = world(HOLE)


def vanishes(wire: Wire, target: str, data: bytes) -> None:
    """What a sends is last seen where it leaves for the hole."""
    for vantage, outgoing, sent, got, _ in wire.world.way("a", target)[:3]:
        wire.seen(vantage, outgoing, sent, got, data, 64 - (vantage == "nat-a:wan"))


def met() -> Wire:
    wire = Wire()
    wire.direct(b"hello")
    return wire


@pytest.mark.parametrize(("target", "by"), [("b", Outcome.DIRECT), ("server", Outcome.RELAYED)])
def test_an_echo_that_is_too_long_tells_by_which_way_it_was_sent(target: str, by: Outcome) -> None:
    wire = met()
    vanishes(wire, target, b"1" * LONG)
    vanishes(wire, target, b"2" * LONG)
    reading = wire.read(WINDOW)
    assert reading.outcome is Outcome.NONE
    assert reading.path == Swallowed(Traffic.ECHO, "a", "b", by, 1280)
    assert {wire.packets[n - 1].vantage for n in reading.packets} == {"nat-a:wan"}
    assert reading.connected is by


def test_what_is_short_enough_was_lost_for_another_reason() -> None:
    wire = met()
    vanishes(wire, "b", b"1" * LONG)
    vanishes(wire, "b", b"2" * 1000)
    reading = wire.read(WINDOW)
    assert reading.path == BytesMissing(Traffic.ECHO, "a", "b", back=False)
    assert reading.connected is Outcome.NONE


def test_who_never_met_is_not_connected_by_long_packets() -> None:
    wire = Wire()
    vanishes(wire, "b", b"1" * LONG)
    vanishes(wire, "b", b"2" * LONG)
    assert wire.read(WINDOW).connected is Outcome.NONE


def test_a_claim_is_held_to_the_way_by_which_the_echo_was_sent() -> None:
    wire = met()
    vanishes(wire, "b", b"1" * LONG)
    reading = wire.read(WINDOW)
    foreseen = Prediction(Outcome.NONE, told(DCUTR_TCP).reason, ())
    assert judge(reading, foreseen, [Claim("a", Outcome.DIRECT, None)]).judgement is Judgement.PASS
    assert judge(reading, foreseen, [Claim("a", Outcome.NONE, None)]).judgement is Judgement.PASS
    verdict = judge(reading, foreseen, [Claim("a", Outcome.RELAYED, None)])
    assert verdict.judgement is Judgement.FAIL
    assert verdict.findings == (FalseClaim("a", Outcome.RELAYED, Outcome.NONE, None),)
