"""The oracle's chances: what links do by chance, and what becomes of the programs that meet it."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from math import comb

import pytest

from testbed.model.behaviour import Behaviour
from testbed.model.chances import DOUBT, Chances
from testbed.model.outcome import Outcome
from testbed.model.prediction import Prediction
from testbed.model.presets import preset
from testbed.model.reason import ByChance
from testbed.model.topology import Impairment, Link, Topology
from testbed.nat.load import catalogue
from testbed.predict import delivery, stun
from testbed.predict.dcutr import DCUTR_QUIC, DCUTR_TCP
from testbed.predict.delivery import Delivery
from testbed.predict.fate import Direction
from testbed.predict.ice import ICE
from testbed.predict.ladder import LADDER_TCP
from testbed.predict.model import Model
from testbed.predict.network import Network
from testbed.predict.packet import Carried, Message
from testbed.predict.prediction import predict
from testbed.predict.punching import PLAIN_DIAL_TCP, PLAIN_DIAL_UDP, PUNCH_TCP, PUNCH_UDP

CATALOGUE = catalogue()
LOSSY = Link.both(delay_ms=60.0, jitter_ms=50.0, loss=0.1)
SENT = 20_000


def chances(model: Model, *profiles: str, link: Link = LOSSY, runs: int = 120) -> Prediction:
    world = preset("two-homes", *profiles, link=link)
    return predict(world, behaviours(world), model, "a", "b", runs=runs)


def behaviours(world: Topology) -> dict[str, Behaviour]:
    return {router.name: CATALOGUE[router.profile].behaviour for router in world.routers}


# -- links --------------------------------------------------------------------


def arrivals(way: Impairment) -> list[tuple[float, ...]]:
    direction = Direction(way, "seed")
    return [direction.arrivals(number / 1000) for number in range(SENT)]


@pytest.mark.parametrize("burst", [None, 4.0])
def test_a_link_loses_its_share(burst: float | None) -> None:
    lost = sum(not came for came in arrivals(Impairment(loss=0.1, burst=burst))) / SENT
    assert lost == pytest.approx(0.1, abs=0.015)


def test_bursts_are_as_long_as_they_are_said_to_be() -> None:
    fates = [bool(came) for came in arrivals(Impairment(loss=0.1, burst=4.0))]
    begun = sum(before and not after for before, after in pairwise(fates))
    assert fates.count(False) / begun == pytest.approx(4.0, rel=0.1)


def test_jitter_is_uniform_and_keeps_the_order() -> None:
    way = Impairment(delay_ms=50.0, jitter_ms=0.4)
    took = [came[0] - number / 1000 for number, came in enumerate(arrivals(way))]
    assert min(took) == pytest.approx(0.0496, abs=1e-5)
    assert max(took) == pytest.approx(0.0504, abs=1e-5)
    far = [came[0] for came in arrivals(Impairment(delay_ms=50.0, jitter_ms=50.0))]
    assert far == sorted(far)


def test_packets_are_doubled_and_overtake() -> None:
    came = arrivals(Impairment(delay_ms=50.0, duplicate=0.2, reorder=0.1))
    assert sum(len(copies) == 2 for copies in came) / SENT == pytest.approx(0.2, abs=0.015)
    early = sum(copies[0] == number / 1000 for number, copies in enumerate(came))
    assert early / SENT == pytest.approx(0.1, abs=0.015)


# -- predictions --------------------------------------------------------------


def test_what_is_sure_has_no_chances() -> None:
    told = chances(PUNCH_UDP, link=Link.both(delay_ms=10.0))
    assert told.chances is None
    assert not isinstance(told.reason, ByChance)


def test_the_same_question_has_the_same_chances() -> None:
    assert chances(ICE).chances == chances(ICE).chances


def test_a_puncher_fails_as_often_as_it_does_not_learn_its_address() -> None:
    """Three requests, each lost with 1 - 0.9^4, at each end; 60 probes do not matter beside."""
    learnt = 1 - (1 - 0.9**4) ** 3
    told = chances(PUNCH_UDP, runs=500)
    assert told.chances is not None
    assert told.chances.rate(Outcome.DIRECT) == pytest.approx(learnt**2, abs=0.04)
    assert told.chances.relayed == 0


def test_a_program_that_asks_once_fails_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stun, "REQUESTS", (0.0,))
    told = chances(PUNCH_UDP, runs=501)
    assert told.chances is not None
    assert told.chances.rate(Outcome.DIRECT) == pytest.approx(0.9**8, abs=0.06)


@pytest.mark.parametrize("model", [DCUTR_TCP, DCUTR_QUIC], ids=lambda model: model.name)
def test_without_repetition_an_upgrade_has_hardly_a_chance(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = chances(model, link=replace_loss(0.02), runs=60).chances
    monkeypatch.setattr(Delivery, "_arm", lambda _: None)
    monkeypatch.setattr(Delivery, "_repeat_overtaken", lambda _: None)
    hasty = chances(model, link=replace_loss(0.02), runs=61).chances
    assert patient is not None
    assert hasty is not None
    assert hasty.rate(Outcome.NONE) > patient.rate(Outcome.NONE) + 0.2


@pytest.mark.parametrize("model", [ICE, DCUTR_TCP, DCUTR_QUIC], ids=lambda model: model.name)
def test_what_no_nat_lets_through_goes_direct_by_no_chance(model: Model) -> None:
    told = chances(model, "symmetric", "symmetric", link=replace_loss(0.02))
    assert told.chances is not None
    assert told.chances.direct == 0
    assert told.outcome is Outcome.RELAYED


@pytest.mark.parametrize(
    "model", [PUNCH_UDP, PUNCH_TCP, ICE, DCUTR_TCP, DCUTR_QUIC], ids=lambda m: m.name
)
def test_a_link_that_hardly_loses_leaves_the_sure_end(model: Model) -> None:
    told = chances(model, link=replace_loss(0.0005), runs=60)
    assert told.chances is not None
    assert told.outcome is Outcome.DIRECT
    assert told.chances.rate(Outcome.DIRECT) > 0.9


def replace_loss(loss: float) -> Link:
    up, down = (replace(way, loss=loss, jitter_ms=5.0) for way in (LOSSY.up, LOSSY.down))
    return Link(up, down)


def test_a_mechanism_whose_model_does_not_repeat_is_predicted_without_loss() -> None:
    assert chances(LADDER_TCP).chances is None


@pytest.mark.parametrize(
    "model", [PLAIN_DIAL_UDP, PLAIN_DIAL_TCP, PUNCH_UDP, PUNCH_TCP], ids=lambda m: m.name
)
def test_chance_decides_plain_dials_as_well_as_punches(model: Model) -> None:
    """Nothing else keeps a dial out of a NAT that lets everybody in."""
    told = chances(model, "full-cone", "full-cone", link=replace_loss(0.1), runs=60)
    assert told.chances is not None
    assert 0.2 < told.chances.rate(Outcome.DIRECT) < 1.0


def test_a_dead_link_lets_nothing_through() -> None:
    assert not any(arrivals(Impairment(loss=1.0)))


# -- delivery -----------------------------------------------------------------


class Wire:
    """Two ends with 100 ms between, which lose the packets of the given numbers.

    ``known``: the round trip that they have measured before, in seconds.  ``answering``: the
    one end answers each message by one of its own.
    """

    def __init__(
        self,
        *lost: int,
        known: float | None = 0.2,
        timing: delivery.Timing = delivery.TCP,
        answering: bool = False,
    ) -> None:
        self.network = Network(preset("two-homes"), behaviours(preset("two-homes")), "0")
        self.lost, self.sent = lost, list[float]()
        self.told: list[Carried] = []
        self.known, self.timing, self.answering = known, timing, answering
        self.got: list[str] = []
        self.there: Delivery = self._end(lambda: self.back, self._take)
        self.back: Delivery = self._end(lambda: self.there, lambda _: None)

    def _take(self, message: Message) -> None:
        self.got.append(message.name)
        if self.answering:
            self.there.send(Message("answer"))

    def _end(self, other: Callable[[], Delivery], deliver: Callable[[Message], None]) -> Delivery:
        def emit(carried: Carried) -> None:
            self.sent.append(self.network.now)
            self.told.append(carried)
            if len(self.sent) - 1 not in self.lost:
                self.network.at(self.network.now + 0.1, lambda: other().take(carried))

        return Delivery(self.network, emit, deliver, self.timing, self.known)

    def run(self, *names: str) -> list[float]:
        """When each packet left, of either end."""
        for name in names:
            self.back.send(Message(name))
        self.network.run(self.network.now + 60.0)
        return self.sent


def test_what_is_lost_is_repeated_once_it_is_overdue() -> None:
    """Two round trips and 0.2 s for a lone message, RFC 8985 section 7.2; then 3 round trips."""
    wire = Wire(0)
    assert wire.run("one")[1] == pytest.approx(0.6)
    assert wire.got == ["one"]
    twice = Wire(0, 1)
    assert twice.run("one")[:3] == pytest.approx([0.0, 0.6, 1.2])


def test_messages_keep_their_order_and_come_once() -> None:
    wire = Wire(0, 4, 5)
    wire.run("one", "two", "three")
    assert wire.got == ["one", "two", "three"]


def test_an_overtaken_message_is_repeated_by_the_answer() -> None:
    wire = Wire(0)
    left = wire.run("one", "two")
    assert wire.got == ["one", "two"]
    # A quarter of a round trip after the later one's answer.
    assert left[3] == pytest.approx(0.25)


def test_an_overtaken_message_waits_for_the_round_trip_of_the_later_one() -> None:
    """RFC 8985 section 6.2: who believes in a long round trip repeats no later for that."""
    wire = Wire(0, known=1.0)
    left = wire.run("one", "two")
    assert left[3] == pytest.approx(0.25)


def test_the_deviation_is_forgotten_by_a_quarter_of_a_quarter() -> None:
    """As Linux does, so that a timeout stays long: RFC 6298 forgets a quarter at once."""
    kept = {}
    for timing in (delivery.TCP, delivery.QUIC):
        wire = Wire(timing=timing)
        wire.run("one")
        kept[timing] = wire.back._variance
    assert kept[delivery.TCP] == pytest.approx(0.1 * 15 / 16)
    assert kept[delivery.QUIC] == pytest.approx(0.1 * 3 / 4)


def again_after(wire: Wire) -> float:
    """Seconds after which a lone message is repeated, one second after all before it."""
    wire.network.run(wire.network.now + 10)
    wire.lost = (len(wire.sent),)
    before = len(wire.sent)
    wire.run("lost")
    return wire.sent[before + 1] - wire.sent[before]


def test_a_round_trip_that_is_measured_moves_the_smoothed_one_by_an_eighth() -> None:
    """RFC 6298 section 2: from 0.4 s towards 0.2 s; the lone message waits for two, and 0.2 s."""
    wire = Wire(known=0.4)
    wire.run("one")
    assert again_after(wire) == pytest.approx(2 * (0.4 + (0.2 - 0.4) / 8) + 0.2)


def test_what_was_repeated_measures_no_round_trip() -> None:
    """Karn's algorithm, RFC 6298 section 3: nobody knows which of the two was answered."""
    wire = Wire(0, known=0.4)
    wire.run("one")
    assert again_after(wire) == pytest.approx(2 * 0.4 + 0.2)


def test_without_a_round_trip_the_timeout_is_a_second_and_doubles() -> None:
    wire = Wire(0, 1, 2, known=None)
    assert wire.run("one")[:4] == pytest.approx([0.0, 1.0, 3.0, 7.0])


@pytest.mark.parametrize(
    ("timing", "order"), [(delivery.TCP, [0, 1, 1, 0]), (delivery.QUIC, [0, 1, 0, 0])]
)
def test_a_probe_repeats_the_latest_message_and_a_timeout_the_earliest(
    timing: delivery.Timing, order: list[int]
) -> None:
    """RFC 8985 section 7.3, after which TCP's own timer is that of RFC 6298 section 5.4."""
    wire = Wire(0, 1, 2, timing=timing)
    wire.run("one", "two")
    assert [one.number for one in wire.told[:4]] == order


def test_an_answer_carries_the_acknowledgement() -> None:
    wire = Wire(answering=True)
    wire.run("one")
    assert [one.message.name if one.message else "" for one in wire.told] == ["one", "answer", ""]


def test_an_end_that_is_over_says_and_repeats_nothing() -> None:
    wire = Wire()
    wire.back.send(Message("one"))
    wire.back.over = wire.there.over = True
    wire.network.run(60.0)
    assert len(wire.sent) == 1


# -- rates --------------------------------------------------------------------


def test_the_interval_has_the_errors_of_both_samples() -> None:
    """As an exact binomial where the model was run for ever, and wider where it was not."""
    exact = [comb(200, k) * 0.9**k * 0.1 ** (200 - k) for k in range(201)]
    low, high = Chances(10**7, 9 * 10**6, 0, 10**6).foresees(Outcome.DIRECT, 200)
    for tail in (exact[:low], exact[high + 1 :]):
        assert sum(tail) < DOUBT / 6
    assert sum(exact[: low + 1]) > DOUBT / 6
    assert sum(exact[high:]) > DOUBT / 6
    wider = Chances(500, 450, 0, 50).foresees(Outcome.DIRECT, 200)
    assert wider[0] < low
    assert high < wider[1]


def test_more_groups_make_an_interval_wider() -> None:
    one = Chances(500, 450, 0, 50)
    alone, among = one.foresees(Outcome.DIRECT, 200), one.foresees(Outcome.DIRECT, 200, 50)
    assert among[0] < alone[0]
    assert alone[1] < among[1]


def test_a_cell_may_end_as_any_run_did_and_no_other_way() -> None:
    told = chances(PUNCH_UDP, runs=120)
    assert told.beside(Outcome.NONE) is Outcome.NONE
    assert told.beside(Outcome.DIRECT) is Outcome.DIRECT
    assert told.beside(Outcome.RELAYED) is told.outcome
