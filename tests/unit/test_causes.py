"""Single steps of the search for a cause, each with the packets that it is about."""

from dataclasses import replace
from typing import Any

import pytest
from test_explain import MS, Run
from test_protocol_stun import attribute, message
from ways import Wire
from ways import evidence as of_journeys

from testbed.evidence.account import WireAccount
from testbed.explain.causes import claims, refused, relay, through, unsent
from testbed.explain.scene import Scene
from testbed.model.breach import NeverSent
from testbed.model.contract import Connected, Event, Failed, FailureClass, FailureDetail, Path
from testbed.model.contract import Endpoint as Spoken
from testbed.model.explanation import Cause, Evidence
from testbed.model.journey import Fate, Journey
from testbed.model.outcome import Outcome
from testbed.model.packet import SYN
from testbed.model.refusal import Refusal
from testbed.model.statement.lacks import AfterVantage, Empty, Events, NotRecorded
from testbed.model.window import Window
from testbed.predict.dcutr import DCUTR_QUIC
from testbed.predict.ice import ICE
from testbed.predict.model import Model
from testbed.predict.punching import PUNCH_UDP

ALLOCATE, ERROR, ERROR_CODE = 0x0003, 0x0113, 0x0009


def scene(run: Run, measured: Outcome = Outcome.NONE, **changes: Any) -> Scene:
    evidence = replace(run.evidence(measured), **changes)
    return Scene(evidence, WireAccount.of(evidence))


def homes(mechanism: Model = PUNCH_UDP) -> Run:
    return Run("port-restricted", "port-restricted", mechanism=mechanism)


def failed(
    node: str, failure: FailureClass, at_ms: float = 3_000, **more: Any
) -> tuple[str, Event]:
    return node, Failed(at=int(at_ms * MS), failure=failure, reason="it ended", **more)


# -- relays -----------------------------------------------------------------------


def allocating(*codes: int) -> Run:
    """a asks a TURN server for an allocation, and gets these errors in turn."""
    run = homes(ICE)
    for number, code in enumerate(codes):
        at = -900 + 50.0 * number
        run.sends(at, "a", 4001, run.at("server", 3478), 4001, payload=message(ALLOCATE))
        said = attribute(ERROR_CODE, bytes([0, 0, code // 100, code % 100]) + b"words")
        run.answers(at + 21, "a", 4001, 4001, message(ERROR, said))
    run.fails("a")
    return run


@pytest.mark.parametrize("codes", [(401,), (401, 438), (438, 401, 438)])
def test_a_question_for_credentials_is_no_refusal(codes: tuple[int, ...]) -> None:
    """RFC 8489 section 9.2: 401 asks for them, 438 for those of a fresh nonce."""
    assert relay._turn_error(scene(allocating(*codes)), scene(allocating(*codes)).dialer) is None


def test_a_refusal_after_a_question_for_credentials_is_the_cause() -> None:
    one = scene(allocating(401, 438, 486))
    found = relay._turn_error(one, one.dialer)
    assert found is not None
    assert (found.cause, found.node) == (Cause.RELAY_REFUSED, "server")
    assert "486" in str(found.headline)


def test_the_last_word_is_the_relays_answer_and_the_question_before_it() -> None:
    run = homes(DCUTR_QUIC)
    server = run.at("server", 4001)
    run.sends(0, "a", 4001, server, 4001, payload=b"first")
    run.sends(30, "a", 4001, server, 4001, payload=b"second")
    _from(run, 55, b"answer")
    run.sends(60, "a", 4001, server, 4001, payload=b"not answered")
    run.events.append(failed("a", FailureClass.TIMEOUT))
    one = scene(run)
    asked, answer = relay._last_word(one, one.dialer)
    assert (asked.payload, answer.payload) == (b"second", b"answer")
    assert answer.vantage == "a:eth0"


def _from(run: Run, at_ms: float, payload: bytes) -> None:
    """The relay, at port 4001, answers a."""
    server, seen, own = run.at("server", 4001), run.at("nat-a", 4001), run.at("a", 4001)
    way = [
        ("server:eth0", True, server, seen, 0), ("core:server", False, server, seen, 10),
        ("core:nat-a", True, server, seen, 10), ("nat-a:wan", False, server, seen, 20),
        ("nat-a:lan", True, server, own, 20), ("a:eth0", False, server, own, 20),
    ]  # fmt: skip
    run._put(at_ms, way, payload)


def test_what_a_relay_said_after_the_end_is_not_its_last_word() -> None:
    run = homes(DCUTR_QUIC)
    run.sends(0, "a", 4001, run.at("server", 4001), 4001, payload=b"question")
    _from(run, 3_500, b"late")
    run.events.append(failed("a", FailureClass.TIMEOUT))
    one = scene(run)
    assert relay._last_word(one, one.dialer) == ()


def test_a_relay_whose_refusal_is_not_in_the_capture_is_told_without_a_packet() -> None:
    run = homes(DCUTR_QUIC)
    run.sends(0, "b", 4001, run.at("server", 4001), 4001)
    detail = FailureDetail.RELAY_REFUSED
    run.events.append(failed("b", FailureClass.TIMEOUT, detail=detail))
    found = relay.why(scene(run))
    assert found is not None
    assert (found.cause, found.lines, found.decisive) == (Cause.RELAY_REFUSED, (), ())


def test_what_was_asked_before_the_start_asks_for_no_circuit() -> None:
    run = homes(DCUTR_QUIC)
    run.sends(-500, "a", 4001, run.at("server", 4001), 4001)
    run.sends(-500, "b", 4001, run.at("server", 4001), 4001)
    run.events += [failed(node, FailureClass.TIMEOUT) for node in "ab"]
    found = relay.why(scene(run))
    assert found is not None
    assert (found.cause, found.node) == (Cause.NEVER_SENT, "a")
    run.sends(5, "a", 4001, run.at("server", 4001), 4001)
    found = relay.why(scene(run))
    assert found is not None
    assert found.cause is Cause.RELAY_UNREACHABLE


@pytest.mark.parametrize(
    ("failure", "cause"),
    [(FailureClass.TIMEOUT, None), (FailureClass.LOST, Cause.RELAY_REFUSED)],
)
def test_only_a_relayed_connection_that_was_lost_was_ended(
    failure: FailureClass, cause: Cause | None
) -> None:
    run = homes(DCUTR_QUIC)
    run.sends(0, "a", 4001, run.at("server", 4001), 4001)
    end = Spoken(address=run.plan.address("server"), port=4001)
    for node in "ab":
        run.events.append((node, Connected(at=1, path=Path.RELAYED, local=end, remote=end)))
    run.events.append(failed("a", failure))
    found = relay.why(scene(run))
    assert (found.cause if found else None) is cause


# -- what was not sent --------------------------------------------------------------


@pytest.mark.parametrize(("node", "cause"), [("b", Cause.FILTER_CLOSED), ("a", Cause.NEVER_SENT)])
def test_in_a_plain_dial_only_the_listener_is_not_to_send(node: str, cause: Cause) -> None:
    run = homes()
    run.learns("a", 4001)
    run.learns("b", 4001)
    one = scene(run, mode="plain_dial")
    side = one.dialer if node == "a" else one.listener
    assert unsent.why(one, side).cause is cause


def test_what_became_of_questions_that_are_not_seen_again_is_not_guessed() -> None:
    asked = Wire().way(1.0, ("a", "10.0.0.2:4001", "29.0.0.34:3478"))
    one = stopped_at(asked)
    found = unsent.ended(one, one.dialer, [asked])
    assert (found.cause, found.missing) == (Cause.UNKNOWN, (AfterVantage("a:eth0"),))


# -- ways through -------------------------------------------------------------------


def test_a_hole_is_still_open_after_packets_came_in_by_it() -> None:
    run = homes()
    run.learns("a", 4001)
    run.learns("b", 4001)
    run.sends(0, "b", 4001, run.at("nat-a", 4001), 4001, stopped=True)
    for at in (50, 60, 70):
        run.sends(at, "a", 4001, run.at("nat-b", 4001), 4001, inside="b")
    one = scene(run, Outcome.DIRECT)
    came = [
        crossing for crossing in one.crossings["nat-b"] if crossing.remote == run.at("nat-a", 4001)
    ]
    inward = [crossing for crossing in came if not crossing.outbound]
    holes = [through._entry(one, crossing).hole for crossing in inward]
    assert holes == [came[0]] * 3


# -- packets that a router does not let out -------------------------------------------


def out(*rules: Refusal, **more: Any) -> Journey:
    """A packet of a that ends at nat-a by one of ``rules``."""
    return Wire().way(
        1.0,
        ("a", "10.0.0.2:4001", "29.0.0.34:3478"),
        ("nat-a", "10.0.0.2:4001", "29.0.0.34:3478"),
        fate=Fate.DROPPED,
        rules=rules,
        **more,
    )


def stopped_at(journey: Journey) -> Scene:
    packets = tuple(p for hop in journey.hops for p in (hop.inward, hop.outward) if p)
    base = of_journeys()
    behaviours = Run("symmetric", "symmetric").behaviours
    counts = {r: {rule.value: 1 for rule in Refusal} for r in behaviours}
    whole: Evidence = replace(base, packets=packets, behaviours=behaviours, drops=counts, events=())
    return Scene(whole, WireAccount.of(whole))


@pytest.mark.parametrize(
    ("rule", "cause"),
    [
        (Refusal.UDP_BLOCKED, Cause.UDP_BLOCKED),
        (Refusal.UDP_PORT_BLOCKED, Cause.UDP_BLOCKED),
        (Refusal.TCP_BLOCKED, Cause.TCP_BLOCKED),
        (Refusal.TCP_PORT_BLOCKED, Cause.TCP_BLOCKED),
        (Refusal.QUOTA, Cause.QUOTA_REACHED),
        (Refusal.EXHAUSTED, Cause.PORTS_EXHAUSTED),
        (Refusal.COLLISION, Cause.PORT_COLLISION),
        (Refusal.HAIRPIN, Cause.HAIRPIN_MISSING),
        (Refusal.UNROUTED, Cause.SIGNALLED_PRIVATE),
        (Refusal.UNSOLICITED, Cause.UNKNOWN),
    ],
)
def test_the_rule_that_stopped_a_packet_is_its_cause(rule: Refusal, cause: Cause) -> None:
    journey = out(rule)
    one = stopped_at(journey)
    assert refused.why(one, one.dialer, [journey]).cause is cause


def test_where_two_rules_may_have_been_it_a_block_that_the_profile_declares_was_it() -> None:
    journey = out(Refusal.UDP_BLOCKED, Refusal.QUOTA)
    one = stopped_at(journey)
    axes = replace(one.behaviour("nat-a").udp, blocked=True)
    one.evidence.behaviours["nat-a"] = replace(one.behaviour("nat-a"), udp=axes)  # type: ignore[index]
    assert refused.why(one, one.dialer, [journey]).cause is Cause.UDP_BLOCKED


def test_a_syn_that_a_router_stops_is_told_as_tcps() -> None:
    journey = out(Refusal.TCP_BLOCKED, protocol="tcp", tcp_flags=SYN)
    one = stopped_at(journey)
    assert refused.why(one, one.dialer, [journey]).cause is Cause.TCP_BLOCKED


# -- claims ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "lacking"),
    [
        ({"packets": None}, (NotRecorded(),)),
        ({"packets": ()}, (Empty(),)),
        ({"events": None}, (Events(),)),
    ],
)
def test_a_finding_without_its_evidence_names_what_is_missing(
    changes: dict[str, Any], lacking: tuple[object, ...]
) -> None:
    run = homes()
    run.learns("a", 4001)
    found = claims.why(scene(run, findings=(NeverSent("a"),), **changes))
    assert found is not None
    assert (found.cause, found.missing) == (Cause.UNKNOWN, lacking)


def test_an_echo_is_shown_by_the_first_packet_that_left_and_the_first_that_came() -> None:
    wire = Wire()
    left = tuple(wire.packet("a", at, "10.0.0.2:4001", "29.0.0.18:4001") for at in (1, 2))
    came = tuple(wire.packet("b", at, "29.0.0.2:4001", "10.0.1.2:4001") for at in (3, 4))
    way = claims._Way("a", "b", left, came, Window(0, 1, 100))
    cited = [[cite.number for cite in line.cites] for line in way.lines]
    assert cited == [[left[0].number], [came[0].number]]
    assert way.shown == [left[0], came[0]]
