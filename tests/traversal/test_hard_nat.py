"""The strategies against hard NATs: their chances, and both sides, without a lab."""

import asyncio
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.traversal.aio import hard_punch
from testbed.traversal.errors import DeadlineError
from testbed.traversal.hard_nat import (
    Birthday,
    Frame,
    Hit,
    Kind,
    Limits,
    Opener,
    Ports,
    Prediction,
    Prober,
    Send,
    Side,
    Sounding,
    decode,
)
from testbed.traversal.hard_nat_odds import birthday_odds, granted, prediction_odds
from testbed.traversal.stun import Address

SESSION, OTHER = b"s" * 16, b"o" * 16
HARD, EASY = "29.0.0.2", ("29.0.0.18", 4001)
FAST = Limits(packets=4096, seconds=10.0, pace=10_000.0, patience=1.0)


# The chances


# "How NAT traversal works": 256 ports open, so many probes, that chance, as rounded there.
@pytest.mark.parametrize(("probes", "chance"), [(174, 0.5), (256, 0.64), (1024, 0.98)])
def test_the_published_chances_come_out(probes: int, chance: float) -> None:
    assert birthday_odds(64512, 256, probes) == pytest.approx(chance, abs=0.01)


@pytest.mark.parametrize(
    ("ports", "mapped", "probes"), [(7, 2, 3), (8, 1, 1), (6, 4, 3), (5, 0, 2)]
)
def test_birthday_odds_are_what_counting_every_choice_gives(
    ports: int, mapped: int, probes: int
) -> None:
    choices = list(combinations(range(ports), probes))
    hits = sum(min(choice) < mapped for choice in choices)  # the mapped ones are the first
    assert birthday_odds(ports, mapped, probes) == pytest.approx(hits / len(choices))


def test_more_sockets_than_the_quota_has_left_change_nothing() -> None:
    assert granted(64, quota=16, in_use=4) == granted(12, quota=16, in_use=4) == 12
    assert granted(8, quota=16, in_use=4) == 8
    assert granted(8, quota=4, in_use=9) == 0
    assert granted(64, quota=None) == 64


def test_prediction_odds_are_a_poisson_law_s() -> None:
    assert prediction_odds(0.0, 1) == 1.0
    assert prediction_odds(2.0, 1) == pytest.approx(0.1353353)
    assert prediction_odds(2.0, 3) == pytest.approx(0.6766764)  # e^-2 (1 + 2 + 2)
    assert prediction_odds(8.0, 200) == pytest.approx(1.0)


# What may be asked for


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Limits(packets=0),
        lambda: Limits(packets=70_000),
        lambda: Limits(seconds=1.0, patience=1.0),
        lambda: Limits(pace=0.0),
        lambda: Limits(pace=float("nan")),
        lambda: Limits(seconds=float("inf")),
        lambda: Birthday(sockets=0),
        lambda: Birthday(sockets=2000),
        lambda: Birthday(probes=11, ports=Ports(1, 10)),
        lambda: Prediction(candidates=0),
        lambda: Ports(10, 9),
        lambda: Ports(0, 9),
        lambda: Opener(b"short", EASY, 1, FAST, 0.0),
    ],
)
def test_what_has_no_bounds_or_no_sense_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the messages are for humans
        wrong()


def test_drawn_ports_are_distinct_in_range_and_nobody_s_guess() -> None:
    plan = Birthday(probes=500, ports=Ports(2000, 2999))
    drawn = plan.draw()
    assert len(set(drawn)) == 500
    assert all(2000 <= port <= 2999 for port in drawn)
    assert plan.draw() != drawn
    assert plan.draw(random.Random(1)) == plan.draw(random.Random(1))


@pytest.mark.parametrize(
    ("first", "last", "ports"),
    [
        (30000, 30001, (30002, 30003, 30004)),
        (30000, 30002, (30004, 30006, 30008)),
        (30010, 30008, (30006, 30004, 30002)),  # downwards
        (30000, 30000, (30000,)),  # endpoint-independent
        (30000, 41234, ()),  # random
        (65533, 65534, (65535,)),  # what would be beyond is left out
    ],
)
def test_the_next_ports_follow_the_step(first: int, last: int, ports: tuple[int, ...]) -> None:
    assert Sounding((HARD, first), (HARD, last)).next_ports(3) == ports


def test_two_external_addresses_foretell_nothing() -> None:
    assert Sounding((HARD, 30000), ("29.0.0.3", 30001)).next_ports(3) == ()


# Both sides, on a NAT in a few lines


@dataclass
class Net:
    """The hard side's NAT: ``mapped`` has the port of each socket that gets one."""

    opener: Opener
    prober: Prober
    mapped: dict[int, int]
    drops: Callable[[Kind], bool] = lambda kind: kind is Kind.OPEN  # the easy NAT's APDF
    opened: set[int] = field(default_factory=set)
    crossed: list[Kind] = field(default_factory=list)

    def run(self, step: float = 0.01, seconds: float = 12.0) -> None:
        """Until both are over."""
        for tick in range(int(seconds / step)):
            now = tick * step
            for send in self.opener.poll(now):
                self._out(send)
            if self.opener.opened:
                for send in self.prober.poll(now):
                    self._in(send)
            if self.opener.over(now) and self.prober.over(now):
                return
        raise AssertionError("a side is never over")

    def _out(self, send: Send) -> None:
        assert send.to == EASY
        port = self.mapped.get(send.socket)
        if port is not None:
            self.opened.add(send.socket)
            if self._passes(send):
                self.prober.received(0, send.data, (HARD, port))

    def _in(self, send: Send) -> None:
        sockets = {port: index for index, port in self.mapped.items() if index in self.opened}
        if send.to[1] in sockets and self._passes(send):
            self.opener.received(sockets[send.to[1]], send.data, EASY)

    def _passes(self, send: Send) -> bool:
        frame = decode(send.data)
        assert frame is not None
        self.crossed.append(frame.kind)
        return not self.drops(frame.kind)


def net(mapped: dict[int, int], ports: tuple[int, ...], sockets: int = 4) -> Net:
    opener = Opener(SESSION, EASY, sockets, FAST, 0.0)
    return Net(opener, Prober(SESSION, HARD, ports, FAST, 0.0), mapped)


@given(
    st.lists(st.integers(2000, 2040), min_size=1, max_size=8, unique=True),
    st.lists(st.integers(2000, 2040), max_size=12, unique=True),
)
def test_a_hit_is_had_exactly_where_a_probed_port_is_mapped(
    mapped: list[int], probed: list[int]
) -> None:
    tried = net(dict(enumerate(mapped)), tuple(probed), len(mapped))
    tried.run()
    here, there = tried.opener.hit, tried.prober.hit
    assert (here is not None) == (there is not None) == bool({*mapped} & {*probed})
    if here is not None and there is not None:  # and they mean the same pair
        assert here.remote == EASY
        assert there == Hit(0, (HARD, mapped[here.socket]))


def test_many_seeded_runs_agree_with_theory_and_not_with_twice_the_sockets() -> None:
    rng, runs, plan = random.Random(5128), 1500, Birthday(8, 40, Ports(2000, 2511), FAST)
    hits = 0
    for _ in range(runs):
        ports = rng.sample(range(2000, 2512), plan.sockets)
        tried = net(dict(enumerate(ports)), plan.draw(rng), plan.sockets)
        tried.run(step=0.2)
        hits += tried.opener.hit is not None
    deviation = (0.25 / runs) ** 0.5  # at most
    assert hits / runs == pytest.approx(birthday_odds(512, 8, 40), abs=4 * deviation)
    assert hits / runs != pytest.approx(birthday_odds(512, 16, 40), abs=4 * deviation)


def test_one_confirmation_of_three_is_enough() -> None:
    tried = net({2: 2007}, (2007,))
    lost = iter([True, True, False])
    tried.drops = lambda kind: kind is Kind.OPEN or (kind is Kind.CONFIRM and next(lost))
    tried.run()
    assert tried.opener.hit == Hit(2, EASY)
    assert tried.crossed.count(Kind.CONFIRM) == 3


def test_without_an_answer_no_side_believes_in_a_hit() -> None:
    tried = net({2: 2007}, (2007,))
    tried.drops = lambda kind: kind in (Kind.OPEN, Kind.ANSWER)
    tried.run()
    assert tried.opener.hit is None
    assert tried.prober.hit is None


def test_an_open_filter_tells_the_port_before_it_is_guessed() -> None:
    tried = net({0: 2007}, tuple(range(3000, 3200)))
    tried.drops = lambda _: False
    tried.run()
    assert tried.prober.hit == Hit(0, (HARD, 2007))
    assert tried.prober.sent < 40  # of 200: one burst, before the answer


def test_a_second_round_finds_what_opened_late() -> None:
    for rounds, found in ((1, False), (2, True)):
        prober = Prober(SESSION, HARD, (2007,), FAST, 0.0, rounds=rounds)
        first = list(prober.poll(0.0))
        answer = Frame(Kind.ANSWER, SESSION, 0).encode()
        again = list(prober.poll(0.5))  # the first one came too early
        if again:
            prober.received(0, answer, (HARD, 2007))
        assert len(first) == 1
        assert (prober.hit is not None) is found


# What others send


@pytest.mark.parametrize("kind", Kind)
def test_another_session_s_frames_are_nothing(kind: Kind) -> None:
    for side in _both():
        side.received(0, Frame(kind, OTHER, 0).encode(), (HARD, 2000))
        assert side.hit is None
        assert not list(side.poll(0.1))


def test_an_answer_from_elsewhere_is_no_hit() -> None:
    prober = Prober(SESSION, HARD, (2000, 2001), FAST, 0.0)
    for number, source in ((0, (HARD, 2001)), (1, ("29.0.0.3", 2001)), (7, (HARD, 2000))):
        prober.received(0, Frame(Kind.ANSWER, SESSION, number).encode(), source)
    assert prober.hit is None


def test_what_is_thrown_back_at_its_sender_is_nothing() -> None:
    for side in _both():
        for send in list(side.poll(1.0)):
            side.received(0, send.data, send.to)
        assert side.hit is None
        assert not list(side.poll(1.1))


@given(st.binary(max_size=64))
def test_any_bytes_may_come(data: bytes) -> None:
    for side in _both():
        side.received(0, data, (HARD, 2000))
        assert side.hit is None


def _both() -> list[Side]:
    """An opener and a prober that have said all that they say unasked."""
    sides = [Opener(SESSION, EASY, 2, FAST, 0.0), Prober(SESSION, HARD, (2000,), FAST, 0.0)]
    for side in sides[1:]:
        list(side.poll(0.0))
    list(sides[0].poll(0.01))
    return sides


# What may be spent


@given(
    st.integers(1, 60),
    st.floats(1.0, 500.0),
    st.lists(st.tuples(st.floats(0.0, 0.6), st.integers(0, 5)), max_size=60),
)
def test_no_side_exceeds_its_packets_or_its_pace(
    packets: int, pace: float, steps: list[tuple[float, int]]
) -> None:
    limits = Limits(packets, seconds=8.0, pace=pace, patience=1.0)
    opener = Opener(SESSION, EASY, 200, limits, 0.0)
    now, asked = 0.0, 0
    for pause, probes in steps:
        now += pause
        for number in range(probes):  # somebody who knows the session probes without end
            opener.received(0, Frame(Kind.PROBE, SESSION, number).encode(), EASY)
        asked += probes
        list(opener.poll(now))
        assert opener.sent <= packets
        assert opener.sent <= asked + 1 + now * pace
    assert opener.over(8.0)


def test_time_bounds_the_probes_as_theory_reckons() -> None:
    limits = Limits(packets=4096, seconds=1.0, pace=126.0, patience=0.5)
    assert limits.unasked == 64
    prober = Prober(SESSION, HARD, tuple(range(2000, 2384)), limits, 0.0)
    sent = [send for tick in range(100) for send in prober.poll(tick / 100)]
    assert len(sent) == 64
    assert prober.over(1.0)


def test_a_prober_without_ports_gives_up_at_once() -> None:
    assert Prober(SESSION, HARD, (), FAST, 3.0).over(3.0)


def test_a_prober_gives_up_its_patience_after_the_last_probe() -> None:
    prober = Prober(SESSION, HARD, (2000,), FAST, 0.0)
    list(prober.poll(0.0))
    assert prober.wakes() == 1.0
    assert not prober.over(0.9)
    assert prober.over(1.0)


def test_open_ports_beyond_measure_are_not_remembered() -> None:
    limits = Limits(packets=5, seconds=10.0, patience=1.0)
    prober = Prober(SESSION, HARD, (2000,), limits, 0.0)
    for port in range(3000, 4000):
        prober.received(0, Frame(Kind.OPEN, SESSION, 0).encode(), (HARD, port))
    assert len(list(prober.poll(0.0))) == 5
    assert not list(prober.poll(9.0))


# On sockets


def _bound() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("127.0.0.1", 0))
    return made


def _name(one: socket.socket) -> Address:
    ip, port = one.getsockname()
    return ip, port


def test_two_sides_meet_on_real_sockets() -> None:
    async def meet() -> tuple[Hit | None, Hit | None]:
        loop, opened = asyncio.get_running_loop(), asyncio.Event()
        with _bound() as easy, _bound() as one, _bound() as two:
            opener = Opener(SESSION, _name(easy), 2, FAST, loop.time())
            opening = asyncio.create_task(hard_punch.drive(opener, [one, two], opened=opened.set))
            await opened.wait()
            ports = (_name(two)[1],)
            prober = Prober(SESSION, "127.0.0.1", ports, FAST, loop.time())
            there = await hard_punch.drive(prober, [easy])
            return await opening, there

    here, there = asyncio.run(meet())
    assert here is not None
    assert there is not None


def test_who_waits_for_opened_is_not_left_waiting() -> None:
    """Also where the time is up before all is sent."""
    limits = Limits(packets=10, seconds=0.02, pace=1000.0, patience=0.01)

    async def lone() -> list[str]:
        said: list[str] = []
        with _bound() as one, _bound() as nobody:
            late = asyncio.get_running_loop().time() - 1.0
            opener = Opener(SESSION, _name(nobody), 10, limits, late)
            await hard_punch.drive(opener, [one], opened=lambda: said.append("opened"))
        return said

    assert asyncio.run(lone()) == ["opened"]


def test_a_stun_server_that_is_silent_is_a_deadline_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hard_punch, "WAITS", (0.01, 0.01))

    async def ask() -> None:
        with _bound() as one, _bound() as nobody:
            await hard_punch.mapped(one, _name(nobody))

    with pytest.raises(DeadlineError, match="no STUN answer"):
        asyncio.run(ask())
