"""No connection counts only where both sides did their part, whatever they say of it."""

from dataclasses import replace

import pytest
from test_agreement import settled
from test_explain import MS, Run
from test_tried_direct import success

from testbed.evidence.account import WireAccount
from testbed.model.breach import TriedLittle
from testbed.model.contract import Event, Failed, FailureClass, Role
from testbed.model.explanation import Cause, Wrong
from testbed.model.fault import Clash, Contradicted
from testbed.model.outcome import Outcome
from testbed.model.packet import ACK, SYN
from testbed.model.verdict import Judgement
from testbed.stacks.wire import Kind, Speaker
from testbed.verdict.tried import Tries, is_call, is_probe, untried

ENDS = ("a", "b")
TRIES = Tries(is_probe, number=10, seconds=2.0)


def probe(role: Role, number: int) -> bytes:
    return Speaker(role, bytes(16)).say(Kind.PROBE, number)


def punched(number: int = 41, *, port: int = 4001, data: bytes | None = None) -> Run:
    """a goes on for ``number`` rounds of 50 ms towards ``port`` of nat-b, b as it should."""
    run = Run("symmetric", "port-restricted")
    run.learns("a", 5000)
    run.learns("b", 4001)
    for round_ in range(41):
        now = round_ * 50.0
        if round_ < number:
            said = probe(Role.DIALER, round_) if data is None else data
            target = run.at("nat-b", port)
            run.sends(now, "a", 4001, target, 5001, stopped=True, payload=said)
        answer = probe(Role.LISTENER, round_)
        run.sends(now + 1, "b", 4001, run.at("nat-a", 5000), 4001, stopped=True, payload=answer)
    run.fails("a", "b")
    return run


def found(run: Run) -> list[TriedLittle]:
    return untried(WireAccount.of(run.evidence(Outcome.NONE)), ENDS, ENDS, "server", TRIES)


def test_two_sides_that_tried_for_their_time_have_shown_that_there_is_no_way() -> None:
    assert found(punched()) == []


def test_as_many_tries_for_as_long_as_is_prescribed_are_enough() -> None:
    account = WireAccount.of(punched(9).evidence(Outcome.NONE))
    tries = Tries(is_probe, number=9, seconds=0.4)
    assert untried(account, ENDS, ENDS, "server", tries) == []
    longer = replace(tries, seconds=0.41)
    assert [one.node for one in untried(account, ENDS, ENDS, "server", longer)] == ["a"]


@pytest.mark.parametrize(
    ("run", "tries"),
    [
        (punched(0), 0),
        (punched(9), 9),
        (punched(port=4002), 0),
        (punched(data=b"x"), 0),
        (punched(data=probe(Role.DIALER, 1)[:-1]), 0),
    ],
    ids=["sent nothing", "gave up early", "sent to a stranger", "sent a byte", "no frame"],
)
def test_who_did_less_than_the_mechanism_prescribes_is_told_by_how_little(
    run: Run, tries: int
) -> None:
    (one,) = found(run)
    assert (one.node, one.tries, one.answered) == ("a", tries, False)


def test_a_probe_that_is_made_to_end_on_the_way_is_no_try() -> None:
    """The cheat that was seen: a TTL of 1, so that nothing gets beyond the first router."""
    whole = punched().evidence(Outcome.NONE)
    mine = {probe(Role.DIALER, number) for number in range(41)}
    packets = [
        replace(one, ttl=1) if one.payload in mine else one
        for one in whole.packets or ()
        if one.payload not in mine or one.node == "a" or (one.node == "nat-a" and not one.outgoing)
    ]
    account = WireAccount.of(replace(whole, packets=packets))
    (one,) = untried(account, ENDS, ENDS, "server", TRIES)
    assert (one.node, one.tries) == ("a", 0)


@pytest.mark.parametrize(("told", "red"), [((5000,), False), ((5000, 7), False), ((7,), True)])
def test_who_offers_what_no_server_told_it_has_not_tried(told: tuple[int, ...], red: bool) -> None:
    """The cheat that was seen: the other end is sent to a stranger, and none is predicted."""
    run = punched()
    for port in told:
        mapped = run.at("nat-a", port)
        run.answers(-800, "a", 4001, 5000, success(0x0001, 0x0020, mapped))
    found_ = [(one.node, one.answered) for one in found(run)]
    assert found_ == ([("a", True)] if red else [])


def test_a_server_in_ones_own_network_tells_nothing_that_could_be_offered() -> None:
    """It sees the private address that its NAT, which hairpins, has left as it is."""
    run = punched()
    run.answers(-800, "a", 4001, 5000, success(0x0001, 0x0020, run.at("a", 7)))
    assert found(run) == []


def test_an_answer_from_where_nobody_was_asked_is_none() -> None:
    """A server in one's own network may answer past the NAT that has turned the question in."""
    whole = ungathered(answered=True).evidence(Outcome.NONE)
    elsewhere = ungathered(answered=False).at("server", 9999)
    packets = [
        replace(one, source=elsewhere) if one.payload == b"answer" else one
        for one in whole.packets or ()
    ]
    account = replace(WireAccount.of(replace(whole, packets=packets)), start_ns=None)
    assert untried(account, ENDS, ENDS, "server", TRIES) == []


def test_a_host_that_answers_the_others_syns_tries_as_well_as_with_its_own() -> None:
    sent = punched().packets[0]
    segments = [replace(sent, protocol="tcp", tcp_flags=f) for f in (SYN, SYN | ACK, ACK)]
    assert [is_call(segment) for segment in segments] == [True, True, False]


def ungathered(*, answered: bool, asked: int = 2, late: bool = False) -> Run:
    """a says that STUN never answered."""
    run = Run("symmetric", "port-restricted")
    run.learns("b", 4001)
    server = run.at("server", 3478)
    for number in range(asked):
        run.sends(-900 + number, "a", 4001, server, 5000, payload=b"question")
    if answered:
        run.answers(3500 if late else -800, "a", 4001, 5000, b"answer")
    run.fails("a")
    return run


def unstarted(run: Run) -> WireAccount:
    return replace(WireAccount.of(run.evidence(Outcome.NONE)), start_ns=None)


@pytest.mark.parametrize(
    ("run", "faults"),
    [
        (ungathered(answered=False), []),
        (ungathered(answered=True), [TriedLittle("a", 2, 0.0, answered=True)]),
        (ungathered(answered=True, late=True), []),
        (ungathered(answered=False, asked=1), [TriedLittle("a", 1, 0.0)]),
    ],
    ids=["unanswered", "answered", "answered too late", "asked once"],
)
def test_who_learned_nothing_must_have_asked_and_had_no_answer(
    run: Run, faults: list[TriedLittle]
) -> None:
    assert untried(unstarted(run), ENDS, ENDS, "server", TRIES) == faults


@pytest.mark.parametrize("senders", [("a", "b"), ("b", "a")])
def test_who_made_an_offer_excuses_nobody_else(senders: tuple[str, str]) -> None:
    found = untried(unstarted(ungathered(answered=True)), senders, ENDS, "server", TRIES)
    assert [one.node for one in found] == ["a"]


def test_a_peer_that_gave_up_by_itself_spoils_what_was_predicted() -> None:
    """The cheat that was seen: PASS beside "the answer came, and a made nothing of it"."""
    run = ungathered(answered=True)
    failed: Event = Failed(at=2_000 * MS, failure=FailureClass.GATHERING, reason="no answer")
    run.events = [*((n, e) for n, e in run.events if n == "b"), ("a", failed)]
    planted = replace(run.evidence(Outcome.NONE), start_ns=None, judgement=Judgement.PASS)
    explanation, evidence, verdict = settled(planted)
    assert explanation.cause is Cause.PEER_FAILED
    assert verdict.judgement is Judgement.INCONCLUSIVE
    assert evidence.faults == (Contradicted(Clash.NOT_TRIED, "a"),)


def test_a_peer_that_tried_little_is_named_by_the_explanation_too() -> None:
    breach = TriedLittle("a", 2, 0.05)
    whole = replace(punched(2).evidence(Outcome.NONE), judgement=Judgement.FAIL, findings=(breach,))
    explanation, _, _ = settled(whole)
    assert (explanation.cause, explanation.node) == (Cause.PROTOCOL_VIOLATION, "a")
    assert explanation.wrong is Wrong.PEER
