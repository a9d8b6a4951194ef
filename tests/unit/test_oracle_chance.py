"""The oracle's chances: what links do by chance, and what becomes of the programs that meet it."""

from dataclasses import replace
from itertools import pairwise
from math import comb

import pytest

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
from testbed.predict.punching import PUNCH_TCP, PUNCH_UDP

CATALOGUE = catalogue()
LOSSY = Link.both(delay_ms=60.0, jitter_ms=50.0, loss=0.1)
SENT = 20_000


def chances(model: Model, *profiles: str, link: Link = LOSSY, runs: int = 120) -> Prediction:
    world = preset("two-homes", *profiles, link=link)
    return predict(world, behaviours(world), model, "a", "b", runs=runs)


def behaviours(world: Topology) -> dict[str, object]:
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
    return Link(*(replace(way, loss=loss, jitter_ms=5.0) for way in (LOSSY.up, LOSSY.down)))


def test_a_mechanism_whose_model_does_not_repeat_is_predicted_without_loss() -> None:
    assert chances(LADDER_TCP).chances is None


# -- delivery -----------------------------------------------------------------


class Wire:
    """Two ends with 100 ms between, which lose the packets of the given numbers."""

    def __init__(self, *lost: int) -> None:
        self.network = Network(preset("two-homes"), behaviours(preset("two-homes")), "0")
        self.lost, self.sent = lost, list[float]()
        self.got: list[str] = []
        self.there = self._end(lambda: self.back, lambda message: self.got.append(message.name))
        self.back = self._end(lambda: self.there, lambda _: None)

    def _end(self, other: object, deliver: object) -> Delivery:
        def emit(carried: Carried) -> None:
            self.sent.append(self.network.now)
            if len(self.sent) - 1 not in self.lost:
                self.network.at(self.network.now + 0.1, lambda: other().take(carried))

        return Delivery(self.network, emit, deliver, delivery.TCP, 0.2)

    def run(self, *names: str) -> list[float]:
        """When each packet left, of either end."""
        for name in names:
            self.back.send(Message(name))
        self.network.run(60.0)
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
    assert left[3] == pytest.approx(0.25)  # a quarter of a round trip after the later one's answer


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
