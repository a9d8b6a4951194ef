"""What swarms cost their relays: populations, what is foreseen, what packets show, the words."""

import json
import re
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from xml.etree import ElementTree

import pytest
from browser import CHROMIUM, chromium
from made_results import document

from testbed.cli.commands.relays import cases, limits_of
from testbed.errors import BackendError, TestbedError, UsageError
from testbed.lab.namespaces import Namespaces
from testbed.model.breach import (
    BytesDiffer,
    CountersDiffer,
    PathDiffers,
    ShareDiffers,
    WorkDiffers,
)
from testbed.model.chance import binomial
from testbed.model.contract import CircuitLimits, Step
from testbed.model.details import Foreseen, PairSeen, RelaysDetails, RelaySeen
from testbed.model.distance import round_trip_s
from testbed.model.outcome import Outcome, StepName
from testbed.model.packet import Endpoint, Packet, decode
from testbed.model.population import Population, parse
from testbed.model.result import Document, Result
from testbed.model.swarming import Claim, ClaimKind, Workload
from testbed.model.verdict import Judgement
from testbed.plan.planner import plan
from testbed.report.html import write_html
from testbed.report.pictures import picture_of
from testbed.report.relays import picture
from testbed.report.relays_plot import page_head, plot
from testbed.report.terminal import terminal
from testbed.studies.base import Site
from testbed.studies.relays.counters import Counted, read_counters
from testbed.studies.relays.curves import Point, claims, curves
from testbed.studies.relays.expect import foreseen, possible
from testbed.studies.relays.lateness import late_ms
from testbed.studies.relays.limits import ends, finishes, refused
from testbed.studies.relays.places import places
from testbed.studies.relays.populations import NAMES, population
from testbed.studies.relays.run import Met, Swarmed, Window
from testbed.studies.relays.study import STUDY, breaches, judged
from testbed.studies.relays.swarm import Swarm
from testbed.studies.relays.wire import Seen, pairs_seen, trip_ms
from testbed.words.claims import sentence

HALF = Population(
    name="half", title="t", source="none", shares={"linux-home": 0.5, "symmetric": 0.5}
)
SITE = Site(Namespaces(), 0, Path("out/cells/x"))
MS = 1_000_000


def swarm(peers: int = 8, *, upgrades: bool = True, stack: str = "traversal-tcp") -> Swarm:
    return Swarm(HALF, peers, stack, upgrades)


def frame(source: str, destination: str, size: int, at_ms: float, node: str, out: bool) -> Packet:
    """A segment of so many bytes of payload, at a node's interface."""
    ends = IPv4Address(source).packed + IPv4Address(destination).packed
    head = bytes([0x45, 0]) + (40 + size).to_bytes(2, "big") + bytes([0, 0, 0, 0, 64, 6, 0, 0])
    tcp = bytes([0x0F, 0xA1, 0x0F, 0xA2]) + bytes(8) + bytes([0x50, 0x10]) + bytes(6)
    data = bytes(12) + b"\x08\x00" + head + ends + tcp + bytes(size)
    return decode(1, f"{node}:eth0", int(at_ms * MS), out, data, len(data))


def test_each_population_of_ours_has_a_source_and_shares_that_add_up() -> None:
    assert len(NAMES) >= 3
    for name in NAMES:
        found = population(name)
        assert found.name == name
        assert found.source
        assert sum(found.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('title = "t"\nsource = "s"\n[shares]\npf = 0.5', "add up to 0.5"),
        ('title = "t"\n[shares]\npf = 1.0', "source"),
        ('title = "t"\nsource = "s"\nmore = 1\n[shares]\npf = 1.0', "more"),
        ("title = ", "mine.toml"),
    ],
)
def test_a_file_that_is_no_population_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse(text, "mine", "mine.toml")


def test_a_population_of_the_users_is_named_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('title = "t"\nsource = "none: a test"\n[shares]\npf = 1.0', encoding="utf-8")
    assert population(str(file)).shares == {"pf": 1.0}
    file.write_text(file.read_text("utf-8").replace("pf", "no-such-nat"), encoding="utf-8")
    with pytest.raises(TestbedError, match="no-such-nat"):
        population(str(file))
    with pytest.raises(UsageError, match="unknown population 'carrier'"):
        population("carrier")


def test_a_larger_swarm_begins_with_the_peers_of_a_smaller_one() -> None:
    small, large = swarm(8), swarm(16)
    assert large.pairs[:4] == small.pairs
    assert swarm(8, upgrades=False).pairs == small.pairs
    other = replace(large, seed=1)
    assert [pair.nats for pair in other.pairs] != [pair.nats for pair in large.pairs]


def test_the_pairs_of_a_swarm_take_turns_at_its_relays() -> None:
    two = replace(swarm(8), relays=2)
    assert [pair.relay for pair in two.pairs] == ["relay-1", "relay-2"] * 2
    assert {"relay-1", "relay-2"} <= {host.name for host in two.topology.hosts}


def test_a_swarm_of_128_peers_has_addresses_for_all() -> None:
    made = plan(swarm(128).topology, swarm(128).routers)
    assert len({made.address(f"nat-p{n}") for n in range(1, 129)}) == 128


def test_the_bounds_of_a_known_rate_leave_as_much_outside_as_was_said() -> None:
    assert binomial(10, 0.0, 0.01) == (0, 0)
    assert binomial(10, 1.0, 0.01) == (10, 10)
    # P(X <= 5) of Binomial(20, 1/2) is 0.0207, and P(X <= 6) is 0.0577
    assert binomial(20, 0.5, 0.10) == (6, 14)
    assert binomial(20, 0.5, 0.04) == (5, 15)


def test_the_oracle_says_how_a_pair_ends_by_its_nats_and_whether_it_may_upgrade() -> None:
    easy, hard = ("linux-home", "linux-home"), ("symmetric", "symmetric")
    assert possible(easy, "traversal-tcp", upgrades=True) == (Outcome.DIRECT,)
    assert possible(hard, "traversal-tcp", upgrades=True) == (Outcome.RELAYED,)
    assert possible(easy, "traversal-tcp", upgrades=False) == (Outcome.RELAYED,)


def test_a_pair_is_foreseen_among_the_observers_that_its_swarm_has() -> None:
    """Four tell a dialer its address, and the listener dials that; a relay alone does not."""
    pair = ("carrier-grade", "symmetric")
    assert possible(pair, "traversal-quic", upgrades=True) == (Outcome.DIRECT,)


def test_the_share_that_is_foreseen_is_that_of_pairs_drawn_from_the_population() -> None:
    told = foreseen(swarm(64))
    assert told.rate == pytest.approx((0.25, 0.25))  # both have to be linux-home
    assert told.direct[0] < 8 < told.direct[1]
    assert foreseen(swarm(64, upgrades=False)).direct == (0, 0)


def test_more_is_foreseen_to_pass_the_relays_of_more_peers_and_of_those_that_stay() -> None:
    on, off = foreseen(swarm(64)), foreseen(swarm(64, upgrades=False))
    assert on.relay_bytes[0] < off.relay_bytes[0]
    assert foreseen(swarm(128)).relay_bytes[1] > on.relay_bytes[1]
    payload = 32 * 4 * swarm(64).payload
    assert off.relay_bytes[0] >= payload  # there and back, into the relay and out of it
    assert off.relay_bytes[0] < 1.3 * payload


def test_what_other_cases_are_run_with_makes_the_bounds_wider() -> None:
    alone, one_of_many = foreseen(swarm(64)), foreseen(replace(swarm(64), of=100))
    assert one_of_many.direct[0] < alone.direct[0]


def test_the_kernels_counters_are_those_of_all_interfaces_but_loopback() -> None:
    text = (
        "Inter-|   Receive                     |  Transmit\n"
        " face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs\n"
        "    lo: 999 9 0 0 0 0 0 0 999 9 0 0 0 0 0 0\n"
        "  eth0: 1000 10 0 0 0 0 0 0 200 2 0 0 0 0 0 0\n"
    )
    assert read_counters(text, "relay-1") == Counted(packets=12, bytes=1200)
    assert Counted(12, 1200).since(Counted(2, 200)) == Counted(10, 1000)
    with pytest.raises(BackendError, match="no interface"):
        read_counters("lo: 1 1", "relay-1")


def test_a_round_trip_is_from_the_echo_out_to_the_echo_back() -> None:
    near, far = "10.0.0.2", "29.0.0.9"
    packets = [
        frame(near, far, 700, 0.5, "p1", True),  # before the window
        frame(near, far, 620, 10, "p1", True),
        frame(far, near, 40, 20, "p1", False),  # an acknowledgement
        frame("29.0.0.8", near, 700, 25, "p1", False),  # from somebody else
        frame(far, near, 610, 51, "p1", False),
    ]
    assert trip_ms(Window(600, 5 * MS, 60 * MS, True), packets) == pytest.approx(41)
    assert trip_ms(Window(600, 5 * MS, 50 * MS, True), packets) is None


def _found(case: Swarm, back: bool = True) -> Swarmed:
    made = plan(case.topology, case.routers)
    work = (Window(6_000, 100 * MS, 200 * MS, back),)
    met = tuple(Met(pair, 50 * MS, (), work) for pair in case.pairs)
    count = {"relay-1": Counted(0, 0)}
    return Swarmed(made, met, count, {"relay-1": None}, 0.0, 0)


def _echo(case: Swarm, found: Swarmed, by_relay: bool) -> list[Packet]:
    """Of the first pair, all of it in one segment each way."""
    made = found.plan
    relay = str(made.address("relay-1"))
    packets = []
    ends = (case.pairs[0].dialer, case.pairs[0].listener)
    for node, other in (ends, ends[::-1]):
        own = str(made.address(node))
        there = relay if by_relay else str(made.address(f"nat-{other}"))
        packets += [
            frame(own, there, 5_400, 110, node, True),
            frame(own, there, 600, 120, node, True),
            frame(there, own, 6_000, 140, node, False),
        ]
        if by_relay:
            outside = str(made.address(f"nat-{node}"))
            packets.append(frame(outside, relay, 1000, 1130, "relay-1", False))
    return packets


def test_a_swarm_is_where_its_world_is() -> None:
    case = replace(swarm(8), world="three-continents", relays=2)
    made = case.topology
    for pair in case.pairs:
        assert made.region(pair.dialer) == "europe"
        assert made.region(pair.listener) == "asia"
        assert made.region(pair.relay) == "america"
    assert made.observers == ()
    plan(made, case.routers)
    far = replace(swarm(8), world="far-relay").topology
    assert round_trip_s(swarm(8).topology, "p1", "relay-1") == pytest.approx(0.04)
    assert round_trip_s(far, "p1", "relay-1") == pytest.approx(0.31)


@pytest.mark.parametrize(
    "world", ["same-lan", "carrier", "mesh-12", "public-both", "home-observers", "two-hosts-each"]
)
def test_a_world_without_two_homes_is_none_of_a_swarm(world: str) -> None:
    with pytest.raises(UsageError, match=f"{world} is no world of two homes"):
        places(world)


def test_a_pair_is_foreseen_in_its_world() -> None:
    """Where there are no observers, nobody but the relay tells a dialer its address."""
    pair = ("carrier-grade", "symmetric")
    near = possible(pair, "traversal-quic", upgrades=True)
    assert possible(pair, "traversal-quic", upgrades=True, world="far-relay") != near


LIMITS = CircuitLimits(data=128 * 1024, duration=120, circuits=1024)


def limited(upgrades: bool, kib: int = 64, **changes: int) -> Swarm:
    limits = LIMITS.model_copy(update=changes)
    return replace(swarm(64, upgrades=upgrades), kib=kib, limits=limits)


def test_work_that_fits_in_a_circuit_gets_done_and_more_than_that_does_not() -> None:
    for kib, done in ((64, True), (125, None), (256, False)):
        assert finishes(limited(True, kib), Outcome.RELAYED) is done
        assert finishes(limited(True, kib), Outcome.DIRECT) is True
    assert finishes(limited(True, 4096, data=0, duration=0), Outcome.RELAYED) is True
    requests = replace(limited(True, duration=1), workload=Workload.REQUESTS)
    assert finishes(requests, Outcome.RELAYED) is False  # 23 round trips of 80 ms
    assert finishes(replace(requests, limits=LIMITS), Outcome.RELAYED) is True


def test_a_relay_without_a_circuit_for_them_keeps_pairs_apart_unless_others_upgrade_in_time() -> (
    None
):
    for upgrades in (False, True):
        case = limited(upgrades, circuits=16)
        first, last = (ends(case, case.pairs[at], (Outcome.RELAYED,)) for at in (15, 16))
        assert first == (Outcome.RELAYED,)
        assert last == ((Outcome.RELAYED, Outcome.NONE) if upgrades else (Outcome.NONE,))
    two = replace(limited(False, circuits=16), relays=2)
    assert not any(refused(two, pair) for pair in two.pairs)


def test_a_circuit_that_is_short_of_time_may_be_gone_before_anything_came_of_it() -> None:
    case = limited(True, duration=5)
    assert ends(case, case.pairs[0], (Outcome.DIRECT,)) == (Outcome.DIRECT, Outcome.NONE)
    patient = limited(True, duration=30)
    assert ends(patient, case.pairs[0], (Outcome.DIRECT,)) == (Outcome.DIRECT,)
    assert ends(patient, case.pairs[0], (Outcome.RELAYED,)) == (Outcome.RELAYED, Outcome.NONE)


def test_limits_bound_what_is_foreseen_to_pass() -> None:
    free = foreseen(limited(False, 512, data=0)).relay_bytes
    cut = foreseen(limited(False, 512)).relay_bytes
    assert cut[1] < free[0]
    assert cut[0] >= 32 * 2 * 128 * 1024
    few = foreseen(limited(False, circuits=8)).relay_bytes
    assert few[0] < foreseen(limited(False)).relay_bytes[0] / 3
    assert foreseen(limited(True, circuits=8)).direct[0] < foreseen(limited(True)).direct[0]


@pytest.mark.parametrize(
    ("words", "limits"),
    [("0,0,16", CircuitLimits(data=0, duration=0, circuits=16)), ("128,120,1024", LIMITS)],
)
def test_limits_are_said_in_kib_seconds_and_circuits(words: str, limits: CircuitLimits) -> None:
    assert limits_of(words) == limits


@pytest.mark.parametrize("words", ["", "1,2", "128,120,0", "-1,0,5", "x,1,1"])
def test_what_are_no_limits_is_refused(words: str) -> None:
    with pytest.raises(UsageError, match="no limits of a relay"):
        limits_of(words)


@pytest.mark.parametrize(("by_relay", "way"), [(True, Outcome.RELAYED), (False, Outcome.DIRECT)])
def test_the_way_of_a_pair_is_the_one_that_its_bytes_took(by_relay: bool, way: Outcome) -> None:
    case = swarm(2)
    found = _found(case)
    (pair,) = pairs_seen(case, found, _echo(case, found, by_relay)).pairs
    assert pair.measured is way
    assert pair.rate_mbit == pytest.approx(6_000 * 8 / 30e3)
    assert (pair.direct_after_s is None) is by_relay


def test_bytes_that_one_end_alone_saw_are_no_echo_nor_is_one_that_did_not_come_back() -> None:
    case = swarm(2)
    found = _found(case)
    near = [one for one in _echo(case, found, False) if one.node == case.pairs[0].dialer]
    assert pairs_seen(case, found, near).pairs[0].measured is Outcome.NONE
    lost = _found(case, back=False)
    assert pairs_seen(case, lost, _echo(case, lost, False)).pairs[0].measured is Outcome.NONE


def test_what_passes_a_relay_is_of_the_pair_whose_home_it_comes_from() -> None:
    case = swarm(4)
    found = _found(case)
    seen = pairs_seen(case, found, _echo(case, found, True))
    size = 1000 + 54
    assert [pair.relay_bytes for pair in seen.pairs] == [2 * size, 0]
    assert [pair.relay_packets for pair in seen.pairs] == [2, 0]
    assert seen.relays[0].bytes == 2 * size
    assert seen.relays[0].flow == (0, 0, 2 * size)


RELAY = RelaySeen(name="relay-1", bytes=900, packets=9, counted_bytes=900, counted_packets=9)
PAIR = PairSeen(
    name="p1--p2", nats=("pf", "pf"), measured=Outcome.DIRECT, possible=(Outcome.DIRECT,)
)
TOLD = Foreseen(rate=(0.5, 0.5), direct=(1, 1), relay_bytes=(800, 1000))


def test_a_swarm_that_is_as_foreseen_breaks_nothing() -> None:
    assert list(breaches(Seen((PAIR,), (RELAY,)), TOLD)) == []


@pytest.mark.parametrize(
    ("seen", "told", "kind"),
    [
        (Seen((PAIR,), (RELAY.model_copy(update={"counted_bytes": 901}),)), TOLD, CountersDiffer),
        (Seen((PAIR,), (RELAY.model_copy(update={"counted_packets": 8}),)), TOLD, CountersDiffer),
        (
            Seen((PAIR.model_copy(update={"possible": (Outcome.RELAYED,)}),), (RELAY,)),
            TOLD,
            PathDiffers,
        ),
        (Seen((PAIR,), (RELAY,)), TOLD.model_copy(update={"direct": (0, 0)}), ShareDiffers),
        (
            Seen((PAIR.model_copy(update={"asked": 9, "finishes": True}),), (RELAY,)),
            TOLD,
            WorkDiffers,
        ),
        (Seen((PAIR.model_copy(update={"finishes": False}),), (RELAY,)), TOLD, WorkDiffers),
        (Seen((PAIR,), (RELAY,)), TOLD.model_copy(update={"relay_bytes": (0, 899)}), BytesDiffer),
        (Seen((PAIR,), (RELAY,)), TOLD.model_copy(update={"relay_bytes": (901, 999)}), BytesDiffer),
    ],
)
def test_each_way_to_be_otherwise_is_told(seen: Seen, told: Foreseen, kind: type) -> None:
    assert [type(one) for one in breaches(seen, told)] == [kind]


def _seen(case: Swarm, passed: int, trip: float) -> Seen:
    """As the oracle says, with so many bytes through the relay."""
    pairs = tuple(
        PairSeen(
            name=pair.name,
            nats=pair.nats,
            measured=(may := possible(pair.nats, case.stack, upgrades=case.upgrades))[0],
            possible=may,
            trip_ms=trip,
            rate_mbit=2.5,
            asked=sum(case.echoes),
            done=sum(case.echoes) if finishes(case, may[0]) else 0,
            finishes=finishes(case, may[0]),
        )
        for pair in case.pairs
    )
    relay = {"bytes": passed, "packets": 9, "counted_bytes": passed, "counted_packets": 9}
    return Seen(pairs, (RELAY.model_copy(update=relay),))


def result(case: Swarm, passed: int | None = None, trip: float = 80.0, late: float = 0.0) -> Result:
    usual = foreseen(case).relay_bytes[0]
    seen = _seen(case, usual if passed is None else passed, trip)
    return judged(case, SITE, replace(_found(case), late_s=late), seen)


def test_a_machine_too_busy_makes_a_difference_inconclusive_and_leaves_an_agreement_alone() -> None:
    case = swarm(8)
    assert result(case).judgement is Judgement.PASS
    assert result(case, late=3.0).judgement is Judgement.PASS
    wrong = result(case, passed=10**9)
    assert (wrong.judgement, wrong.late) == (Judgement.FAIL, False)
    assert [type(one) for one in wrong.finding_values] == [BytesDiffer]
    busy = result(case, passed=10**9, late=3.0)
    assert (busy.judgement, busy.late) == (Judgement.INCONCLUSIVE, True)


@pytest.mark.parametrize(
    ("late_ms", "late_s", "judgement"),
    [
        (0.0, 0.1, Judgement.FAIL),
        (60.0, 0.1, Judgement.INCONCLUSIVE),
        (60.0, 0.02, Judgement.FAIL),  # by its own doing: the machine was never as late
    ],
)
def test_a_pair_that_punched_late_since_the_machine_did_is_no_failure(
    late_ms: float, late_s: float, judgement: Judgement
) -> None:
    case = swarm(64)
    seen = _seen(case, foreseen(case).relay_bytes[0], 80.0)
    place = next(n for n, pair in enumerate(seen.pairs) if pair.measured is Outcome.DIRECT)
    changes = {"measured": Outcome.RELAYED, "late_ms": late_ms, "finishes": True}
    pairs = list(seen.pairs)
    pairs[place] = pairs[place].model_copy(update=changes)
    found = judged(
        case, SITE, replace(_found(case), late_s=late_s), Seen(tuple(pairs), seen.relays)
    )
    assert [type(one) for one in found.finding_values] == [PathDiffers]
    assert found.judgement is judgement


def _steps(*told: tuple[StepName, int, int]) -> list[Step]:
    return [Step(at=0, name=name, attempt=attempt, realtime=ms * MS) for name, attempt, ms in told]


def test_a_leader_is_late_from_half_a_round_trip_after_sync_and_the_other_from_sync_on() -> None:
    leader = _steps(
        (StepName.CONNECT_SENT, 1, 1000),
        (StepName.CONNECT_RECEIVED, 1, 1080),
        (StepName.SYNC_SENT, 1, 1081),
        (StepName.PUNCHING, 1, 1151),
        (StepName.CONNECT_SENT, 2, 3000),
    )
    assert late_ms(leader) == pytest.approx(30)
    other = _steps((StepName.SYNC_RECEIVED, 1, 1121), (StepName.PUNCHING, 1, 1126))
    assert late_ms(other) == pytest.approx(5)
    assert late_ms([]) == 0


def _run() -> Document:
    sizes = ((8, 80.0), (16, 82.0))
    off = [result(swarm(n, upgrades=False), trip=trip) for n, trip in sizes]
    on = [result(swarm(n), trip=trip / 2) for n, trip in sizes]
    return document([*off, *on])


def test_the_claims_are_those_of_the_largest_swarm_with_upgrades_off_and_on() -> None:
    run = _run()
    told = {claim.kind: claim for claim in claims(run.results)}
    assert told[ClaimKind.LATENCY].factor == pytest.approx(2)
    assert told[ClaimKind.LATENCY].peers == 16
    passed = told[ClaimKind.BANDWIDTH]
    assert passed.holds
    assert passed.relayed > passed.upgraded
    given = told[ClaimKind.INCENTIVE]
    assert given.holds is None
    assert given.relayed == pytest.approx(passed.relayed * 1e3 / 16)
    alone = [one for one in run.results if one.labels["upgrades"] == "on"]
    assert curves(alone) == []
    assert claims(alone) == []


def test_what_limits_end_is_told_where_they_end_something() -> None:
    swarms = [result(replace(swarm(8, upgrades=on), kib=256)) for on in (False, True)]
    (claim,) = (one for one in claims(swarms) if one.kind is ClaimKind.LIMITS)
    assert (claim.holds, claim.relayed, claim.factor) == (True, 4, None)
    assert "true (half, traversal-tcp, 8 peers: 4 of 4 pairs do not get" in sentence(claim)
    assert ClaimKind.LIMITS not in [one.kind for one in claims(_run().results)]


@pytest.mark.parametrize("known", [True, False])
def test_what_relays_give_unpaid_is_told_with_their_processors_time_where_it_is_known(
    known: bool,
) -> None:
    claim = Claim(
        ClaimKind.INCENTIVE, "half", "go-tcp", 64, 9, 600.0, 300.0, (30.0, 20.0) if known else None
    )
    told = sentence(claim)
    assert told.startswith("Nobody has an incentive to relay: packets cannot tell")
    assert "by a factor of 2.0" in told
    assert ("600 kB and 30 ms of processor time for each peer" in told) is known


@pytest.mark.parametrize(
    ("with_upgrades", "told"),
    [
        (300.0, "relays give more, unpaid, without upgrades, by a factor of 2.0"),
        (590.0, "relays give as much, unpaid, without upgrades as with them"),
        (800.0, "relays give less, unpaid, without upgrades, by a factor of 0.8"),
    ],
)
def test_what_relays_give_unpaid_is_compared_as_it_is_printed(
    with_upgrades: float, told: str
) -> None:
    claim = Claim(ClaimKind.INCENTIVE, "half", "go-tcp", 64, 9, 600.0, with_upgrades)
    assert f"packets cannot tell; {told} (half" in sentence(claim)


def test_the_processors_time_of_relays_is_a_mean_for_each_peer_if_all_are_known() -> None:
    def point(*cpu_s: float | None) -> Point:
        relays = tuple(RELAY.model_copy(update={"cpu_s": used}) for used in cpu_s)
        return Point(8, {"on": (RelaysDetails(relays=relays),) * 2})

    assert point(0.1, 0.3).cpu_ms("on") == pytest.approx(50)
    assert point(0.1, None).cpu_ms("on") is None


def test_the_table_says_each_swarm_and_each_claim(capsys: pytest.CaptureFixture[str]) -> None:
    run = _run()
    terminal(width=160).print(picture(run, 3.0, 160))
    shown = capsys.readouterr().out
    assert "Relaying adds latency: true, by a factor of 2.0" in shown
    assert "half, traversal-tcp" in shown
    assert picture_of(run).plot is not None


def test_the_picture_has_three_panels_and_every_point_and_needs_nothing_else() -> None:
    run = _run()
    root = ElementTree.fromstring(plot(run.results))
    circles = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2 * (2 + 2 + 1)  # off and on, off and on, on: at two sizes
    assert "http" not in plot(run.results).replace("http://www.w3.org/2000/svg", "")
    assert "Relaying costs" in page_head(run.results)


def test_each_swarm_has_a_place_of_its_own_on_the_page(tmp_path: Path) -> None:
    run = _run()
    write_html(tmp_path / "report.html", run)
    text = (tmp_path / "report.html").read_text("utf-8")
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    rows = json.loads(data[1])["rows"]
    places = [(row["side"][1], row["head"][1]) for row in rows]
    assert places == [(f"half, {end}", size) for end in ("off", "on") for size in ("8", "16")]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: the page was NOT opened")
def test_the_page_of_swarms_draws_itself_in_a_browser(tmp_path: Path) -> None:
    write_html(tmp_path / "report.html", _run())
    with chromium(tmp_path) as browser:
        browser.look(width=1200)
        browser.open(tmp_path / "report.html")
        assert browser.run("document.querySelectorAll('svg.swarms circle.point').length") == 10
        assert browser.run("document.querySelectorAll('#matrix td[data-cell]').length") == 4
        assert browser.complaints() == []


def test_details_are_read_back_as_they_were() -> None:
    run = _run()
    assert Document.model_validate_json(run.model_dump_json()).results == run.results
    assert isinstance(run.results[0].details, RelaysDetails)


def test_the_cases_are_each_population_stack_and_size_off_and_on() -> None:
    found = cases([HALF], [4, 8], ["traversal-tcp", "traversal-quic"], 1, Workload.REQUESTS, 1, 3)
    assert len(found) == 8
    assert {case.of for case in found} == {8}
    assert len({case.name for case in found}) == 8
    assert STUDY.name == "relays"
    with pytest.raises(UsageError, match="not upgraded by DCUtR"):
        cases([HALF], [4], ["punch-udp"], 1, Workload.TRANSFER, 1, 0)


def test_an_endpoint_of_a_made_packet_is_as_it_was_made() -> None:
    made = frame("10.0.0.2", "29.0.0.9", 5, 1, "p1", True)
    assert made.source == Endpoint(IPv4Address("10.0.0.2"), 4001)
    assert (len(made.payload), made.length) == (5, 45)
