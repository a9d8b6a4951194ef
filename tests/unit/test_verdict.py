"""The verdict comes from the wire: claims, relays and stray probes do not deceive it."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from made_worlds import WORLDS, World, world
from ways import explained

from testbed.evidence.account import WireAccount
from testbed.evidence.stitch import stitch
from testbed.model.breach import (
    BreachKind,
    Claim,
    DeviationGone,
    Disowned,
    FalseClaim,
    NeverSent,
    RelayKept,
    TriedLittle,
    Unfounded,
)
from testbed.model.contract import (
    Connected,
    Event,
    FailureClass,
    How,
    Reserved,
    Role,
    Step,
    StepName,
    Upgraded,
)
from testbed.model.contract import Endpoint as Spoken
from testbed.model.contract import Path as Way
from testbed.model.explanation import Cause, Diagram
from testbed.model.fault import CaptureLost, Clash, Contradicted, Late, Tardy, WayUnseen
from testbed.model.journey import Journey
from testbed.model.judgement import WireReading
from testbed.model.outcome import Outcome
from testbed.model.packet import Endpoint, Packet
from testbed.model.path import NothingEchoed, PassedThrough, Traffic, Unfollowed, WentDirect
from testbed.model.prediction import Prediction
from testbed.model.punctuality import UNSEEN, Look, Punctuality
from testbed.model.reason import Lost, Passed, Silence
from testbed.model.saying import SaidConnected, SaidFailed, SaidNothing
from testbed.model.verdict import Judgement, Troubled
from testbed.model.window import Window
from testbed.predict.deviations import DEVIATIONS
from testbed.stacks.wire import Kind, Speaker
from testbed.verdict.agreement import contradiction
from testbed.verdict.claimed import knowable, unfounded
from testbed.verdict.judge import inconclusive, judge
from testbed.verdict.sanity import (
    Lateness,
    Start,
    crossed,
    late_punches,
    late_starts,
    never_sent,
    seen_inside,
    undelayed,
    unseen_ways,
)
from testbed.verdict.tried import Tries, is_probe, untried
from testbed.verdict.wire import read_path
from testbed.words import sentence

MS = 1_000_000
WINDOW = Window(0, 10**9, 2000)
ONE, TWO = b"1" * 1000, b"2" * 1000
DIRECT = Prediction(Outcome.DIRECT, Passed("a", ()), ())


LOOKS = ((10, 9, 0), (20, 1, 2), (30, 0, 7))  # ms: when, how late, what "a" had waited


def waits(before: int, ms: int, late_ms: int = 0) -> Punctuality:
    """A machine that kept "a" waiting for so many ms between two looks."""
    looks = ((0, before, 0), (50, before + ms, late_ms))
    return Punctuality(
        tuple(Look(at * MS, late * MS, {"a": sum_ms * MS}) for at, sum_ms, late in looks)
    )


@pytest.fixture(autouse=True, params=WORLDS)
def everywhere(request: pytest.FixtureRequest) -> None:
    """Every test of this file is one in each of these worlds."""
    Wire.world = world(request.param)


class Wire:
    """Builds captures by hand."""

    world: World

    def __init__(self) -> None:
        self.packets: list[Packet] = []
        self._ids = 0

    def seen(
        self,
        vantage: str,
        outgoing: bool,
        source: Endpoint,
        target: Endpoint,
        data: bytes,
        ttl: int = 64,
    ) -> None:
        """One sight."""
        mac = b"" if outgoing else self.world.macs[vantage]
        self.packets.append(
            Packet(
                number=len(self.packets) + 1,
                vantage=vantage,
                time_ns=len(self.packets) + 1,
                outgoing=outgoing,
                ethertype=0x0800,
                protocol="udp",
                source=source,
                destination=target,
                ttl=ttl,
                ip_id=self._ids,
                tcp_flags=0,
                tcp_seq=0,
                tcp_ack=0,
                icmp_type=None,
                icmp_code=None,
                quoted=None,
                payload=data,
                original_length=len(data) + 42,
                frame=mac.ljust(60, b"\0"),
            )
        )

    def sends(self, source: str, target: str, data: bytes) -> None:
        """One datagram from host to host, seen at each interface that it passes."""
        self._ids += 1
        way = self.world.way(source, target)
        ttl = 64
        for vantage, outgoing, sent, got, _ in way:
            ttl -= outgoing and vantage != way[0][0]
            self.seen(vantage, outgoing, sent, got, data, ttl)

    def begins(self, source: str, target: str, data: bytes) -> None:
        """What ``source`` sends, as it is seen there alone."""
        vantage, outgoing, own, far, _ = self.world.way(source, target)[0]
        self.seen(vantage, outgoing, own, far, data)

    def ends(self, source: str, target: str, data: bytes) -> None:
        """What comes to ``target``, as it is seen there alone."""
        vantage, outgoing, seen_as, own, _ = self.world.way(source, target)[-1]
        self.seen(vantage, outgoing, seen_as, own, data)

    def direct(self, data: bytes) -> None:
        """From a to b and back, across both NATs."""
        self.sends("a", "b", data)
        self.sends("b", "a", data)

    def relayed(self, data: bytes, wrapping: bytes = b"") -> None:
        """From a to the server, which passes it on, and back; wrapped on a's side."""
        self.sends("a", "server", wrapping + data)
        self.sends("server", "b", data)
        self.sends("b", "server", data)
        self.sends("server", "a", wrapping + data)

    def account(self, window: Window | None = None, start_ns: int | None = 0) -> WireAccount:
        return WireAccount(self.world.plan, self.packets, start_ns=start_ns, window=window)

    def read(self, window: Window | None = WINDOW) -> WireReading:
        return read_path(self.account(window), "a", "b")


def test_payloads_that_cross_both_nats_unchanged_are_a_direct_path() -> None:
    wire = Wire()
    wire.direct(ONE)
    wire.direct(TWO)
    reading = wire.read()
    assert reading.outcome is Outcome.DIRECT
    assert {wire.packets[n - 1].vantage for n in reading.packets} == {"a:eth0", "b:eth0"}


@pytest.mark.parametrize("wrapping", [b"", b"channel data"])
def test_a_relay_is_seen_whether_it_wraps_the_payload_or_not(wrapping: bytes) -> None:
    wire = Wire()
    wire.relayed(ONE, wrapping)
    wire.relayed(TWO, wrapping)
    reading = wire.read()
    assert reading.outcome is Outcome.RELAYED
    assert reading.path == PassedThrough(Traffic.ECHO, ("server",))


@pytest.mark.parametrize("ways", [[("server", "b"), ("server", "a")], [("a", "server")]])
def test_a_third_host_that_only_gives_out_or_only_takes_in_is_no_relay(
    ways: list[tuple[str, str]],
) -> None:
    wire = Wire()
    wire.begins("a", "b", ONE)
    wire.begins("b", "a", TWO)
    for number, (source, target) in enumerate(ways * 4):
        wire.sends(source, target, bytes([number]) * 1000)
    assert wire.read().outcome is Outcome.NONE


def test_a_stray_probe_is_no_connection() -> None:
    wire = Wire()
    wire.direct(b"x" * 300)
    assert wire.read().outcome is Outcome.NONE


def framed(kind: Kind, number: int, role: Role = Role.DIALER) -> bytes:
    return Speaker(role, bytes(16)).say(kind, number, bytes([number]) * 100)


def test_an_echo_in_short_frames_is_followed_as_well() -> None:
    """Seen: a peer that echoes in frames of 100 bytes was accused of a false claim."""
    wire = Wire()
    for number in range(20):
        wire.sends("a", "b", framed(Kind.DATA, number))
        wire.sends("b", "a", framed(Kind.BACK, number, Role.LISTENER))
    assert wire.read().outcome is Outcome.DIRECT


def test_a_relay_is_seen_by_the_short_frames_that_it_wraps() -> None:
    wire = Wire()
    for number in range(20):
        wire.relayed(framed(Kind.DATA, number), b"channel")
    assert wire.read().outcome is Outcome.RELAYED


@pytest.mark.parametrize("kind", [Kind.PROBE, Kind.ACK, Kind.SELECT])
def test_short_frames_that_are_no_echo_prove_nothing(kind: Kind) -> None:
    wire = Wire()
    for number in range(20):
        wire.direct(framed(kind, number))
    assert wire.read().outcome is Outcome.NONE


def test_who_asked_nobody_and_was_told_nothing_has_not_tried() -> None:
    tries = Tries(is_probe, number=10, seconds=2.0)
    wire = Wire()
    account = wire.account(start_ns=None)
    assert untried(account, ["a"], ("a", "b"), "server", tries) == [TriedLittle("a", 0, 0.0)]
    wire.direct(framed(Kind.PROBE, 1))
    assert [one.node for one in untried(wire.account(), ["a", "b"], ("a", "b"), "server", tries)]


def test_what_left_before_there_was_anything_to_send_back_is_no_echo() -> None:
    """Two peers that both send what they have prepared, however much, answer nobody."""
    wire = Wire()
    for data in (ONE, TWO):
        wire.sends("b", "a", data)
    for data in (ONE, TWO):
        wire.sends("a", "b", data)
    assert wire.read().outcome is Outcome.NONE
    for data in (b"3" * 1000, b"4" * 1000):
        wire.sends("b", "a", data)
    assert wire.read().outcome is Outcome.DIRECT


def test_what_had_been_sent_before_the_echo_is_none_of_it() -> None:
    wire = Wire()
    wire.direct(ONE)
    wire.direct(TWO)
    window = Window(len(wire.packets) + 1, 10**9, 2000)
    wire.direct(ONE)
    wire.direct(TWO)
    assert wire.read(window).outcome is Outcome.NONE
    wire.direct(b"3" * 1000)
    wire.direct(b"4" * 1000)
    assert wire.read(window).outcome is Outcome.DIRECT


def test_one_direction_alone_is_no_connection() -> None:
    wire = Wire()
    wire.direct(ONE)
    wire.direct(TWO)
    wire.packets = [p for p in wire.packets if not (p.vantage == "a:eth0" and not p.outgoing)]
    assert wire.read().outcome is Outcome.NONE


def test_packets_outside_the_echo_do_not_count() -> None:
    wire = Wire()
    wire.direct(ONE)
    wire.direct(TWO)
    assert wire.read(Window(10**6, 10**9, 2000)).outcome is Outcome.NONE


def test_a_retransmitted_payload_counts_once() -> None:
    wire = Wire()
    for _ in range(5):
        wire.direct(b"y" * 500)
    assert wire.read().outcome is Outcome.NONE


def test_without_a_claimed_connection_the_wire_shows_none() -> None:
    assert Wire().read(None).outcome is Outcome.NONE


def test_bytes_that_arrive_and_are_not_followed_all_the_way_prove_no_path() -> None:
    unseen = Wire.world.routers("a")[0]
    wire = Wire()
    wire.direct(ONE)
    wire.direct(TWO)
    wire.packets = [p for p in wire.packets if p.node != unseen]
    reading = wire.read()
    assert reading.outcome is Outcome.NONE
    assert reading.path == Unfollowed(Traffic.ECHO, "a", "b")
    assert unseen_ways(reading) == [WayUnseen("a", "b")]
    verdict = judge(reading, DIRECT, [CLAIM], faults=unseen_ways(reading))
    assert verdict.judgement is Judgement.INCONCLUSIVE


@pytest.mark.parametrize("way", [("a", "b"), ("b", "a")])
def test_one_way_that_is_not_seen_is_told_by_its_ends(way: tuple[str, str]) -> None:
    wire = Wire()
    wire.direct(ONE)
    wire.direct(TWO)
    between = Wire.world.way(*way)[1:-1]
    hidden = {(vantage, sent, got) for vantage, _, sent, got, _ in between}
    wire.packets = [p for p in wire.packets if (p.vantage, p.source, p.destination) not in hidden]
    assert wire.read().path == Unfollowed(Traffic.ECHO, *way)
    assert unseen_ways(WireReading(Outcome.NONE, NothingEchoed())) == []


def test_a_packet_that_is_not_seen_once_takes_nothing_from_the_others() -> None:
    wire = Wire()
    for data in (ONE, TWO):
        wire.direct(data)
    gone = next(p for p in wire.packets if p.vantage == "nat-a:lan")
    wire.packets.remove(gone)
    assert wire.read().outcome is Outcome.DIRECT


def test_the_packets_of_a_run_are_followed_once_whoever_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = Wire()
    wire.direct(ONE)
    followed: list[int] = []

    def counting(packets: Sequence[Packet], *rest: Any) -> tuple[Journey, ...]:
        followed.append(len(packets))
        return stitch(packets, *rest)

    monkeypatch.setattr("testbed.evidence.account.stitch", counting)
    account = wire.account(WINDOW)
    read_path(account, "a", "b")
    crossed(account, "a", "b")
    never_sent(account, ("a", "b"), "server")
    assert account.labels
    assert followed == [len(wire.packets)]


READING = WireReading(Outcome.DIRECT, WentDirect(Traffic.ECHO, "a", "b"), (1, 2))
END = Endpoint(IPv4Address("29.0.0.2"), 4001)
CONNECTED = SaidConnected(END, END)
CLAIM = Claim("a", Outcome.DIRECT, CONNECTED)


def test_agreement_of_wire_prediction_and_claims_is_a_pass() -> None:
    assert judge(READING, DIRECT, [CLAIM]).judgement is Judgement.PASS


def test_a_peer_that_says_direct_while_relayed_fails_the_cell() -> None:
    reading = replace(READING, outcome=Outcome.RELAYED)
    prediction = replace(DIRECT, outcome=Outcome.RELAYED)
    verdict = judge(reading, prediction, [CLAIM])
    assert verdict.judgement is Judgement.FAIL
    assert verdict.findings == (FalseClaim("a", Outcome.DIRECT, Outcome.RELAYED, CONNECTED),)


def test_a_claim_that_a_known_deviation_accounts_for_is_let_pass_and_missed_without_it() -> None:
    reading = replace(READING, outcome=Outcome.RELAYED)
    prediction = replace(DIRECT, outcome=Outcome.RELAYED)
    claimed = BreachKind.FALSE_CLAIM
    known = [row for row in DEVIATIONS if any(one.kind is claimed for one in row.breaches)]
    assert known
    assert judge(reading, prediction, [CLAIM], known=known).judgement is Judgement.PASS
    honest = judge(reading, prediction, [], known=known)
    assert honest.judgement is Judgement.FAIL
    assert honest.findings == (DeviationGone(known[0].stack, known[0].name, known[0].link),)
    boast = Claim("b", Outcome.DIRECT, CONNECTED)
    assert judge(reading, prediction, [CLAIM, boast], known=known).judgement is Judgement.FAIL


def test_a_stack_that_broke_its_protocol_fails_the_cell_though_the_outcome_agrees() -> None:
    verdict = judge(READING, DIRECT, [CLAIM], violations=[RelayKept("a")])
    assert verdict.judgement is Judgement.FAIL
    assert verdict.findings == (RelayKept("a"),)


def test_a_measurement_that_differs_from_the_prediction_fails_and_says_both() -> None:
    verdict = judge(replace(READING, outcome=Outcome.NONE), DIRECT, [])
    assert verdict.judgement is Judgement.FAIL
    assert verdict.measured is Outcome.NONE
    assert verdict.predicted is Outcome.DIRECT


def test_a_race_is_as_predicted_whoever_wins_it_and_nothing_else_is() -> None:
    race = replace(DIRECT, race=(Outcome.RELAYED,))
    for end in (Outcome.DIRECT, Outcome.RELAYED):
        verdict = judge(replace(READING, outcome=end), race, [])
        assert verdict.judgement is Judgement.PASS
        assert verdict.predicted is verdict.measured is end
    neither = judge(replace(READING, outcome=Outcome.NONE), race, [])
    assert (neither.judgement, neither.predicted) == (Judgement.FAIL, Outcome.DIRECT)


def test_any_fault_of_the_harness_is_inconclusive_even_when_all_else_agrees() -> None:
    lost = CaptureLost("nat-a:wan", 3)
    verdict = judge(READING, DIRECT, [CLAIM], faults=[lost])
    assert verdict.judgement is Judgement.INCONCLUSIVE
    assert verdict.because == Troubled((lost,))
    assert inconclusive(DIRECT, lost).measured is None


def test_a_small_doubt_excuses_no_agreement_and_explains_a_difference() -> None:
    doubts = [Late(Tardy.FRAME, None, 12.0)]
    assert judge(READING, DIRECT, [CLAIM], doubts=doubts).judgement is Judgement.PASS
    differs = judge(replace(READING, outcome=Outcome.NONE), DIRECT, [], doubts=doubts)
    assert differs.judgement is Judgement.INCONCLUSIVE
    assert differs.because == Troubled(tuple(doubts))


def test_no_doubt_excuses_a_claim_of_who_never_sent() -> None:
    doubts, nothing = [Late(Tardy.FRAME, None, 12.0)], replace(READING, outcome=Outcome.NONE)
    silent = [NeverSent("a")]
    lies = judge(nothing, DIRECT, [CLAIM], doubts=doubts, violations=silent)
    assert lies.judgement is Judgement.FAIL
    tired = judge(nothing, DIRECT, [], doubts=doubts, violations=silent)
    assert tired.judgement is Judgement.INCONCLUSIVE
    broken = judge(nothing, DIRECT, [CLAIM], faults=doubts, violations=silent)
    assert broken.judgement is Judgement.INCONCLUSIVE


def test_a_connection_that_no_peer_admits_fails_a_cell_predicted_as_none() -> None:
    wire = Wire()
    wire.direct(b"probe")
    nothing = Prediction(Outcome.NONE, Lost((), Silence.NONE_REACHED), ())
    reading = wire.read(None)
    claims = [Claim(node, Outcome.NONE, SaidNothing()) for node in ("a", "b")]
    assert judge(reading, nothing, claims).judgement is Judgement.PASS
    verdict = judge(reading, nothing, claims, crossed=crossed(wire.account(), "a", "b"))
    assert verdict.judgement is Judgement.FAIL
    (found,) = verdict.findings
    assert isinstance(found, Disowned)
    assert found.claims == tuple(claims)
    assert "no connection is claimed" in sentence(found)


def test_a_connection_that_one_peer_claims_is_not_said_to_be_claimed_by_nobody() -> None:
    wire = Wire()
    wire.direct(b"probe")
    reading = wire.read(None)
    claims = [CLAIM, Claim("b", Outcome.NONE, SaidFailed(FailureClass.TIMEOUT, "3 s"))]
    through = crossed(wire.account(), "a", "b")
    verdict = judge(reading, DIRECT, claims, crossed=through)
    assert verdict.judgement is Judgement.FAIL
    told = " ".join(map(sentence, (verdict.because, *verdict.findings)))
    assert "no connection" not in told
    assert (
        "a claims direct (connected 29.0.0.2:4001 to 29.0.0.2:4001); b claims none (timeout: 3 s)"
        in told
    )


def test_a_probe_that_got_in_one_way_only_is_what_a_filter_leaves() -> None:
    wire = Wire()
    wire.direct(b"probe")
    wire.packets = [p for p in wire.packets if p.node != "a" or p.outgoing]
    assert crossed(wire.account(), "a", "b") is None


def test_packets_from_before_the_attempt_are_no_connection() -> None:
    wire = Wire()
    wire.direct(b"probe")
    assert crossed(wire.account(start_ns=10**6), "a", "b") is None
    assert crossed(wire.account(start_ns=None), "a", "b") is None


def test_a_peer_that_talks_to_the_server_alone_made_no_attempt() -> None:
    wire = Wire()
    wire.begins("a", "server", ONE)
    wire.begins("b", "a", ONE)
    assert never_sent(wire.account(), ("a", "b"), "server") == [NeverSent("a")]
    assert never_sent(wire.account(start_ns=None), ("a", "b"), "server") == []
    assert never_sent(Wire().account(start_ns=None), ("a",), "server")


def test_who_asks_a_silent_server_again_has_done_its_part() -> None:
    """Also where the server is behind a NAT, whose address is asked."""
    wire, tries = Wire(), Tries(is_probe, 2, 1.0)
    wire.begins("a", "server", ONE)
    account = wire.account(start_ns=None)
    assert untried(account, ["a"], ("a", "b"), "server", tries) == [TriedLittle("a", 1, 0.0)]
    wire.begins("a", "server", ONE)
    account = wire.account(start_ns=None)
    assert untried(account, ["a"], ("a", "b"), "server", tries) == []


def test_a_peer_that_was_told_nothing_to_dial_has_tried() -> None:
    wire = Wire()
    wire.begins("b", "server", ONE)
    told = Step(at=0, name=StepName.CONNECT_RECEIVED, attempt=1, realtime=1)
    account = replace(wire.account(), events=(("b", told),))
    assert never_sent(account, ("a", "b"), "server") == [NeverSent("a")]


@pytest.mark.parametrize("outside", [False, True])
def test_who_is_seen_by_an_address_inside_alone_has_none_to_signal(outside: bool) -> None:
    Wire.world = world("relay-at-home")
    wire, plan = Wire(), Wire.world.plan
    own, relay = wire.world.here["b"], wire.world.here["server"]
    router = Endpoint(plan.address("nat-b"), own.port)
    assert not seen_inside(wire.account(), "b", "server"), "it asked nobody"
    for source in (own, *([router] if outside else ())):
        wire.seen("b:eth0", True, own, wire.world.told("server"), ONE)
        wire.seen("nat-b:lan", False, own, wire.world.told("server"), ONE)
        wire.seen("nat-b:lan", True, source, relay, ONE, 63)
        wire.seen("server:eth0", False, source, relay, ONE, 63)
        wire._ids += 1
    assert seen_inside(wire.account(), "b", "server") is not outside
    assert not seen_inside(wire.account(), "a", "server")


def test_what_comes_twice_was_not_sent_by_its_target() -> None:
    wire = Wire()
    wire.begins("b", "a", ONE)
    wire.ends("b", "a", ONE)
    wire.ends("b", "a", ONE)
    assert never_sent(wire.account(), ("a",), "server") == [NeverSent("a")]


def test_a_delay_that_is_not_applied_is_seen_in_the_first_round_trip() -> None:
    for milliseconds, found in ((40.3, 0), (1.2, 1)):
        wire = Wire()
        wire.begins("a", "server", ONE)
        wire.ends("server", "a", ONE)
        late = wire.packets[0].time_ns + int(milliseconds * 1e6)
        wire.packets[1] = replace(wire.packets[1], time_ns=late)
        assert len(undelayed(wire.account(), ("a", "b"), "server")) == found


def test_a_punch_that_left_long_after_it_was_decided_on_is_the_machines_fault() -> None:
    wire = Wire()
    wire.direct(ONE)
    punching = Step(at=0, name=StepName.PUNCHING, attempt=1, realtime=1)
    wire.packets[0] = replace(wire.packets[0], time_ns=23_000_001)
    told = replace(wire.account(), events=(("a", punching),))
    ((found),) = late_punches(told, "a", "b", waits(0, 20))
    assert found == Lateness(Tardy.PUNCH, "a", 23.0, of_machine=True)
    assert late_punches(wire.account(), "a", "b", waits(0, 20)) == []


def test_who_starts_late_is_seen_by_the_first_packet_that_is_not_for_the_server() -> None:
    wire = Wire()
    for at, target in ((5, "b"), (12, "server"), (31, "b")):
        wire.begins("a", target, ONE)
        wire.packets[-1] = replace(wire.packets[-1], time_ns=at * MS)
    starts = dict.fromkeys("ab", Start(9.0 * MS, 10.0 * MS))
    late = Lateness(Tardy.START, "a", 21.0, of_machine=False)
    assert late_starts(wire.account(), starts, "server", UNSEEN) == [late]


@pytest.mark.parametrize(
    ("told", "of_machine"),
    [
        (waits(0, 4), False),  # a peer that takes its time, or sends where nobody records
        (waits(0, 15), True),
        (waits(0, 4, late_ms=15), True),  # the harness itself was as late
        (UNSEEN, False),
    ],
)
def test_a_late_start_is_the_machines_fault_if_it_kept_the_peer_waiting(
    told: Punctuality, of_machine: bool
) -> None:
    wire = Wire()
    wire.begins("a", "b", ONE)
    wire.packets[-1] = replace(wire.packets[-1], time_ns=31 * MS)
    (late,) = late_starts(wire.account(), {"a": Start(9.0 * MS, 10.0 * MS)}, "server", told)
    assert late.of_machine is of_machine


def test_a_peer_that_the_machine_kept_from_sending_at_all_was_late() -> None:
    starts = {"a": Start(9.0 * MS, 10.0 * MS)}
    (late,) = late_starts(Wire().account(), starts, "server", waits(0, 50))
    assert late == Lateness(Tardy.START, "a", 40.0, of_machine=True)
    assert late_starts(Wire().account(), starts, "server", waits(0, 10)) == []


def test_waiting_counts_from_the_look_before_to_the_look_after() -> None:
    looks = [Look(at * MS, late * MS, {"a": sum_ms * MS}) for at, late, sum_ms in LOOKS]
    told = Punctuality(tuple(looks))
    assert told.held_up_ms("a", 12 * MS, 15 * MS) == 2.0
    assert told.held_up_ms("a", 12 * MS, 25 * MS) == 7.0
    assert told.held_up_ms("a", 5 * MS, 15 * MS) == 9.0  # by the harness's own first look
    assert told.held_up_ms("b", 12 * MS, 25 * MS) == 1.0  # of which the kernel does not tell


def test_who_is_a_moment_early_is_not_late_by_its_second_packet() -> None:
    wire = Wire()
    for at in (11, 500):
        wire.begins("a", "b", ONE)
        wire.packets[-1] = replace(wire.packets[-1], time_ns=at * MS)
    starts = {"a": Start(10.0 * MS, 12.0 * MS)}
    assert late_starts(wire.account(), starts, "server", waits(0, 50)) == []


def test_a_late_punch_that_the_upgrade_did_not_need_is_no_fault() -> None:
    wire = Wire()
    wire.direct(ONE)
    left = wire.packets[0]
    wire.packets = [replace(left, time_ns=at * MS) for at in (10, 900)]
    here = wire.world.here["a"]
    end = Spoken(address=here.address, port=here.port)
    events: list[tuple[str, Event]] = [
        ("a", Step(at=1, name=StepName.PUNCHING, attempt=1, realtime=9 * MS)),
        ("a", Upgraded(at=2, local=end, remote=end, how=How.PUNCHED, attempts=1)),
        ("a", Step(at=3, name=StepName.PUNCHING, attempt=2, realtime=20 * MS)),
    ]
    told = replace(wire.account(), events=tuple(events))
    (found,) = late_punches(told, "a", "b", UNSEEN)
    assert (found.what, found.ms) == (Tardy.PUNCH, 1.0)


def test_an_explanation_that_denies_the_wire_is_believed_as_little_as_the_verdict() -> None:
    wire = Wire()
    wire.direct(ONE)
    wire.direct(TWO)
    verdict = judge(wire.read(), DIRECT, [CLAIM])
    assert verdict.judgement is Judgement.PASS
    why = explained(Diagram((), ()), wire.packets[:1], cause=Cause.FILTER_CLOSED)
    assert contradiction(verdict, why) == Contradicted(Clash.WAY_UNKNOWN, "nat-a")
    assert contradiction(verdict, replace(why, cause=Cause.BOTH_OPENED)) is None


def connecting(remote: Endpoint | None = None, at: int = 10**6) -> list[Unfounded]:
    """What is found of a, which says that it is connected: to b, if it is not told otherwise."""
    wire = Wire()
    wire.direct(b"probe")
    there = remote or wire.packets[-1].source
    told = Spoken(address=there.address, port=there.port)
    said = Connected(at=at, local=told, remote=told, path=Way.DIRECT)
    account = replace(wire.account(), events=(("a", said),), clock_ns=0)
    late = [replace(p, time_ns=p.time_ns + 50_000_000) for p in wire.packets]
    assert unfounded(replace(account, packets=late), ("b",)) == []
    account = replace(account, packets=late if at < 10**6 else wire.packets)
    return unfounded(account, ("a", "b"))


def test_who_is_connected_to_whom_it_has_heard_of_is_believed() -> None:
    assert connecting() == []


def test_who_is_connected_to_a_stranger_is_told() -> None:
    (found,) = connecting(Endpoint(IPv4Address("29.0.0.250"), 9))
    assert (found.node, found.ms) == ("a", None)
    assert "from where nothing came" in sentence(found)


def test_who_was_connected_before_anything_came_is_told_by_how_much() -> None:
    (found,) = connecting(at=1000)
    assert found.node == "a"
    assert found.ms == pytest.approx(50, abs=1)


RELAY_PORT, REWRITTEN = 49152, 33333


def relayed_claims(
    remote: str, *, port: int = REWRITTEN, path: Way = Way.DIRECT
) -> tuple[WireAccount, tuple[Claim, ...]]:
    """A relayed echo, of which b says that it has it ``path`` from ``remote``.

    The NAT before the relay gives its packets the source ``port`` on their way to b.
    """
    Wire.world = made = copy(Wire.world)
    made.here = made.here | {"server": replace(made.here["server"], port=RELAY_PORT)}
    relay = made.told("server")
    assert relay.port == RELAY_PORT
    wire = Wire()
    for data in (ONE, TWO):
        wire.sends("a", "server", b"channel" + data)
        began = len(wire.packets)
        wire.sends("server", "b", data)
        for at, packet in enumerate(wire.packets[began:], began):
            if packet.source == relay:
                wire.packets[at] = replace(packet, source=replace(relay, port=port))
        wire.sends("b", "server", data)
        wire.sends("server", "a", b"channel" + data)
    b = wire.world.here["b"]
    places = {
        "relay": relay,
        "hidden": replace(relay, port=port),
        "server": replace(relay, port=443),
        "peer": wire.world.way("a", "b")[-1][2],
    }
    remotes = {name: Spoken(address=one.address, port=one.port) for name, one in places.items()}
    local = Spoken(address=b.address, port=b.port)
    events: tuple[tuple[str, Event], ...] = (
        ("a", Reserved(at=1, relay=remotes["relay"], circuit=None)),
        ("b", Connected(at=2, local=local, remote=remotes[remote], path=path)),
    )
    said = SaidConnected(b, places[remote])
    account = replace(wire.account(WINDOW), events=events)
    assert read_path(account, "a", "b").outcome is Outcome.RELAYED
    return account, (Claim("b", Outcome(path.value), said),)


def test_whom_a_nat_has_kept_from_knowing_the_relay_is_no_liar() -> None:
    """No candidate names the endpoint, so an agent takes it for the peer's (RFC 8445, 7.3.1.3)."""
    if not Wire.world.routers("server"):
        return  # nothing rewrites what a public relay sends
    account, claims = relayed_claims("hidden")
    assert knowable(account, claims) == ()
    relayed = Prediction(Outcome.RELAYED, Lost((), Silence.NO_CHECK), ())
    reading = read_path(account, "a", "b")
    assert judge(reading, relayed, knowable(account, claims)).judgement is Judgement.PASS
    assert judge(reading, relayed, claims).judgement is Judgement.FAIL


@pytest.mark.parametrize("remote", ["relay", "server", "peer"])
def test_who_could_have_known_the_relay_and_says_direct_is_a_liar(remote: str) -> None:
    """The relay's own address was told; from the others nothing of the echo came."""
    account, claims = relayed_claims(remote, port=RELAY_PORT)
    assert knowable(account, claims) == claims


@pytest.mark.parametrize("remote", ["server", "peer"])
def test_a_hidden_relay_excuses_nobody_who_says_to_be_connected_elsewhere(remote: str) -> None:
    account, claims = relayed_claims(remote)
    assert knowable(account, claims) == claims


def test_who_says_relayed_of_a_direct_connection_is_held_to_it() -> None:
    wire = Wire()
    wire.direct(ONE)
    wire.direct(TWO)
    claim = Claim("b", Outcome.RELAYED, CONNECTED)
    assert knowable(wire.account(WINDOW), [claim]) == (claim,)
