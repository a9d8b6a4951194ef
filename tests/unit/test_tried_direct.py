"""A relayed path, or none, counts only where both sides tried a direct one, in every world."""

import hmac
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from made_worlds import WORLDS, world
from test_verdict import Wire

from testbed.evidence.account import WireAccount
from testbed.model.breach import TriedLittle
from testbed.model.contract import Event, IceParameters, Offer, Offered
from testbed.model.packet import ACK, SYN, Endpoint
from testbed.model.trace import Kind, Place, TraceStep, Verb
from testbed.stacks import stun
from testbed.verdict.tried_direct import (
    Indirect,
    candidates,
    untried_calls,
    untried_checks,
    untried_initials,
)

ENDS = ("a", "b")
OTHER = {"a": "b", "b": "a"}
LATER = 10**6  # ns: after all packets of a capture by hand


@pytest.fixture(autouse=True, params=WORLDS)
def everywhere(request: pytest.FixtureRequest) -> None:
    """Every test of this file is one in each of these worlds."""
    Wire.world = world(request.param)


def known_as(node: str) -> Endpoint:
    """Where ``node`` is for its peer."""
    return Wire.world.way(OTHER[node], node)[0][3]


def line(kind: str, at: Endpoint, transport: str = "UDP") -> str:
    return f"1 1 {transport} 2130706431 {at.address} {at.port} typ {kind}"


def offers(*lines: str) -> Offer:
    return Offer(addresses=(), ice=IceParameters(ufrag="u", pwd="p", candidates=lines))


def told(node: str, *lines: str, at: int = LATER) -> tuple[str, Event]:
    return node, Offered(at=at, offer=offers(*lines))


def both_told() -> list[tuple[str, Event]]:
    return [told(node, line("srflx", known_as(node))) for node in ENDS]


def success(method: int, attribute: int, where: Endpoint) -> bytes:
    """A success response that tells an address (RFC 8489 section 14.2)."""
    port = where.port ^ stun.MAGIC_COOKIE >> 16
    address = int(where.address) ^ stun.MAGIC_COOKIE
    value = struct.pack("!HHxBHI", attribute, 8, 1, port, address)
    return struct.pack("!HHI12s", method | 0x100, len(value), stun.MAGIC_COOKIE, bytes(12)) + value


def case(
    wire: Wire, events: list[tuple[str, Event]], *, relayed: bool = True, start: int | None = 0,
    trace: tuple[TraceStep, ...] = (),
) -> Indirect:  # fmt: skip
    account = WireAccount(wire.world.plan, wire.packets, tuple(events), clock_ns=0, start_ns=start)
    return Indirect(account, ENDS, ENDS, "server", relayed, trace)


def check(password: bytes = b"p") -> bytes:
    """A Binding request with MESSAGE-INTEGRITY (RFC 8489 section 14.5)."""
    covered = struct.pack("!HHI12s", 0x0001, 24, stun.MAGIC_COOKIE, os.urandom(12))
    return covered + struct.pack("!HH", 0x0008, 20) + hmac.digest(password, covered, "sha1")


def checks(wire: Wire, node: str, times: int, password: bytes = b"p") -> None:
    for _ in range(times):
        wire.sends(node, OTHER[node], check(password))


def as_calls(wire: Wire, flags: int = SYN) -> Wire:
    """What was sent, as segments."""
    wire.packets = [replace(one, protocol="tcp", tcp_flags=flags) for one in wire.packets]
    return wire


def test_candidates_are_those_that_can_be_followed() -> None:
    at = Endpoint(IPv4Address("29.0.0.2"), 4001)
    offer = offers(line("host", at), line("host", at, "tcp"), "1 1 udp 5 x.local 9 typ host", "")
    assert [(one.kind, one.endpoint) for one in candidates(offer)] == [("host", at)]
    assert candidates(Offer(addresses=(), ice=None)) == []


@pytest.mark.parametrize(("relayed", "enough"), [(True, 1), (False, 2)])
def test_who_checks_each_candidate_of_the_other_has_tried(relayed: bool, enough: int) -> None:
    wire = Wire()
    for node in ENDS:
        checks(wire, node, enough)
    assert untried_checks(case(wire, both_told(), relayed=relayed)) == []


@pytest.mark.parametrize(("relayed", "number"), [(True, 0), (False, 0), (False, 1)])
def test_who_checks_too_little_is_told(relayed: bool, number: int) -> None:
    wire = Wire()
    checks(wire, "a", number)
    checks(wire, "b", 2)
    (found,) = untried_checks(case(wire, both_told(), relayed=relayed))
    assert (found.node, found.tries, found.answered) == ("a", number, False)


def test_a_check_that_nobody_would_answer_is_none() -> None:
    """It has no MESSAGE-INTEGRITY, or one by a password that the other end did not offer."""
    wire = Wire()
    checks(wire, "a", 2, b"mine")
    checks(wire, "b", 2)
    wire.sends("a", "b", stun.binding_request())
    (found,) = untried_checks(case(wire, both_told()))
    assert (found.node, found.tries) == ("a", 0)


def test_a_check_that_was_answered_is_not_repeated() -> None:
    wire = Wire()
    checks(wire, "a", 1)
    checks(wire, "b", 2)
    events = both_told()
    assert [one.node for one in untried_checks(case(wire, events, relayed=False))] == ["a"]
    wire.sends("b", "a", success(0x0001, 0x0020, known_as("a")))
    assert untried_checks(case(wire, events, relayed=False)) == []


def test_noise_is_no_check_and_neither_is_what_went_before_the_start() -> None:
    wire = Wire()
    checks(wire, "a", 2)
    start = len(wire.packets) + 1
    for _ in range(20):
        wire.sends("a", "b", b"x")
    checks(wire, "b", 2)
    found = untried_checks(case(wire, both_told(), start=start))
    assert [one.node for one in found] == ["a"]


def test_one_candidate_of_several_that_is_left_out_is_missed() -> None:
    wire = Wire()
    checks(wire, "a", 2)
    checks(wire, "b", 2)
    elsewhere = Endpoint(IPv4Address("29.9.9.9"), 9)
    b = told("b", line("srflx", known_as("b")), line("host", elsewhere))
    assert [one.node for one in untried_checks(case(wire, [both_told()[0], b]))] == ["a"]


def test_a_candidate_in_ones_own_network_may_be_nobodys() -> None:
    """Two homes may use the same addresses; who asks for one that nobody has sends no packet."""
    wire = Wire()
    for node in ENDS:
        checks(wire, node, 2)
    near = Endpoint(Wire.world.plan.address("a") + 1, 9)
    b = told("b", line("srflx", known_as("b")), line("host", near))
    assert untried_checks(case(wire, [both_told()[0], b], relayed=False)) == []


def test_a_relays_candidate_is_checked_where_there_is_no_path_at_all() -> None:
    wire = Wire()
    checks(wire, "a", 2)
    checks(wire, "b", 2)
    b = told("b", line("srflx", known_as("b")), line("relay", Wire.world.here["server"]))
    events = [both_told()[0], b]
    assert untried_checks(case(wire, events, relayed=True)) == []
    assert [one.node for one in untried_checks(case(wire, events, relayed=False))] == ["a"]


@pytest.mark.parametrize(
    ("method", "attribute"), [(0x0001, 0x0020), (0x0003, 0x0016)], ids=["STUN", "TURN"]
)
@pytest.mark.parametrize("relayed", [True, False])
def test_who_was_told_an_address_and_does_not_offer_it_has_not_tried(
    method: int, attribute: int, relayed: bool
) -> None:
    """A peer that claims that STUN, or TURN, never answered."""
    wire = Wire()
    known = Endpoint(IPv4Address("29.1.2.3"), 77)
    wire.sends("server", "a", success(method, attribute, known))
    start = len(wire.packets) + 1
    for node in ENDS:
        checks(wire, node, 2)
    lied = [(n, e.model_copy(update={"at": start})) for n, e in both_told()]
    found = untried_checks(case(wire, lied, relayed=relayed, start=start))
    assert found == [TriedLittle("a", 0, 0.0, answered=True)]
    kind = "relay" if method == 0x0003 else "srflx"
    honest = told("a", line("srflx", known_as("a")), line(kind, known), at=start)
    whole = case(wire, [honest, lied[1]], relayed=True, start=start)
    assert [one for one in untried_checks(whole) if one.answered] == []


def test_what_is_told_after_the_offer_is_no_excuse_to_doubt_it() -> None:
    wire = Wire()
    wire.sends("server", "a", success(0x0001, 0x0020, Endpoint(IPv4Address("29.1.2.3"), 77)))
    for node in ENDS:
        checks(wire, node, 2)
    early = [(n, e.model_copy(update={"at": 0})) for n, e in both_told()]
    assert untried_checks(case(wire, early)) == []


@pytest.mark.parametrize("untried", [untried_checks, untried_calls, untried_initials])
def test_who_offers_nothing_must_have_asked_in_vain(
    untried: Callable[[Indirect], list[TriedLittle]],
) -> None:
    asked, answered = Wire(), Wire()
    for wire in (asked, answered):
        for _ in range(2):
            wire.sends("a", "server", b"question")
    answered.sends("server", "a", b"answer")
    b = told("b", line("srflx", known_as("b")))
    assert untried(case(asked, [b], relayed=False, start=None)) == []
    (one,) = untried(case(answered, [b], relayed=False, start=None))
    assert (one.node, one.answered) == ("a", True)
    (one,) = untried(case(Wire(), [b], relayed=False, start=None))
    assert (one.node, one.tries, one.answered) == ("a", 0, False)


def foretold(node: str) -> TraceStep:
    """In the model ``node`` dials the other."""
    there = Wire.world.plan.owners[known_as(OTHER[node]).address]
    return TraceStep(Kind.SYN, None, Place(node, 4001), Place(f"{there}#1", 4001), Verb.ARRIVES)


INITIAL = bytes.fromhex("c000000001088394c8f03e5157080000449e7b9aec34") + bytes(1178)


NOBODY: Mapping[str, int] = {}


def dialed(number: int, said: bytes, seconds: float = 8.0) -> Wire:
    """By a so often, and by b as it should."""
    wire = Wire()
    for round_ in range(max(number, 4)):
        if round_ < number:
            wire.sends("a", "b", said)
        wire.sends("b", "a", b"random")
    return spread(wire, seconds)


def spread(wire: Wire, seconds: float = 4.0) -> Wire:
    """What was sent, over so many seconds."""
    step = int(seconds * 1e9 / max(1, len(wire.packets) - 1))
    wire.packets = [replace(one, time_ns=step * n + 1) for n, one in enumerate(wire.packets)]
    return wire


def over_tcp(wire: Wire, fewest: Mapping[str, int] = NOBODY) -> list[TriedLittle]:
    trace = tuple(map(foretold, ENDS))
    one = case(as_calls(wire), both_told(), trace=trace)
    return untried_calls(replace(one, fewest=fewest))


def over_quic(wire: Wire, fewest: Mapping[str, int] = NOBODY) -> list[TriedLittle]:
    one = case(wire, both_told(), trace=tuple(map(foretold, ENDS)))
    return untried_initials(replace(one, fewest=fewest))


@pytest.mark.parametrize("untried", [over_tcp, over_quic])
@pytest.mark.parametrize(("number", "red"), [(0, True), (1, True), (2, True), (3, False)])
def test_who_is_to_dial_the_other_is_seen_to_do_so(
    number: int, red: bool, untried: Callable[[Wire], list[TriedLittle]]
) -> None:
    found = untried(dialed(number, INITIAL))
    assert [(one.node, one.tries) for one in found] == ([("a", number)] if red else [])


def test_what_opens_no_connection_is_no_dial() -> None:
    """Datagrams where TCP is spoken, segments without SYN, and noise where QUIC is."""
    trace, wire = tuple(map(foretold, ENDS)), dialed(8, b"noise")
    assert [one.node for one in over_quic(wire)] == ["a"]
    datagrams = case(wire, both_told(), trace=trace)
    assert [one.node for one in untried_calls(datagrams)] == ["a", "b"]
    segments = case(as_calls(wire, ACK), both_told(), trace=trace)
    assert [one.node for one in untried_calls(segments)] == ["a", "b"]


def test_the_listener_of_a_quic_connection_may_send_what_it_likes() -> None:
    """Random datagrams, by relay/DCUtR.md; but not nothing."""
    wire = Wire()
    for _ in range(4):
        wire.sends("a", "b", INITIAL)
    assert [one.node for one in over_quic(spread(wire))] == ["b"]


@pytest.mark.parametrize("untried", [over_tcp, over_quic])
def test_who_stops_after_its_first_attempt_is_told(
    untried: Callable[..., list[TriedLittle]],
) -> None:
    found = untried(dialed(8, INITIAL, seconds=2.0))
    assert [one.node for one in found] == ["a", "b"]


@pytest.mark.parametrize("untried", [over_tcp, over_quic])
@pytest.mark.parametrize(("number", "red"), [(0, True), (1, True), (2, False)])
def test_who_is_known_to_dial_less_is_held_to_that(
    number: int, red: bool, untried: Callable[..., list[TriedLittle]]
) -> None:
    wire = dialed(number, INITIAL)
    assert [one.node for one in untried(wire, {"a": 2})] == (["a"] if red else [])
    assert untried(wire, {"a": 0}) == []


def test_where_the_model_has_nobody_dial_nobody_must() -> None:
    assert untried_calls(case(Wire(), both_told())) == []
    beyond = replace(foretold("a"), destination=Place("server", 4001))
    assert untried_calls(case(Wire(), both_told(), trace=(beyond,))) == []
    assert untried_calls(case(Wire(), both_told(), trace=(foretold("a"),), relayed=False)) == []
