"""How long punchers try that nobody answers: long enough for whoever may still come through."""

from collections.abc import Iterable
from itertools import product

import pytest

from testbed.model.furnishing import behaviours
from testbed.model.outcome import Outcome
from testbed.model.presets import preset
from testbed.model.topology import Conditions
from testbed.nat.load import catalogue
from testbed.predict import punching
from testbed.predict.prediction import _predict, predict
from testbed.run.cell import asked
from testbed.run.judging import TOO_LATE_MS
from testbed.stacks.registry import ADAPTERS
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.mechanisms import MECHANISMS, of
from testbed.verdict.tried import Tries, is_probe

HOME = ("linux-home", "linux-home")
PUNCHERS = ("punch-udp", "punch-tcp")
OTHERS = ("rejecting", "linux-home", "symmetric")  # what comes too early is refused, or dropped


def patience(peer: str, topology: str = "two-homes", **more: object) -> float | None:
    return asked(Cell(peer, HOME, topology, **more)).patience  # type: ignore[arg-type]


def test_it_is_so_many_round_trips_and_what_a_kernel_waits_for() -> None:
    assert patience("punch-udp") == pytest.approx(30 * 0.04)
    assert patience("punch-tcp") == pytest.approx(1 + 30 * 0.04)


def test_on_long_ways_nobody_tries_longer_than_the_contract_has_it() -> None:
    far = Conditions(delay_ms=100.0)
    assert patience("punch-udp", conditions=far) == 3.0
    assert patience("punch-tcp", conditions=far) == 4.0


def test_who_starts_later_is_waited_for_longer() -> None:
    assert patience("punch-udp", skew_ms=500.0) == pytest.approx(0.5 + 30 * 0.04)
    assert patience("punch-udp", skew_ms=-500.0) == pytest.approx(0.5 + 30 * 0.04)


def test_where_packets_get_lost_by_chance_a_late_answer_may_be_a_first_one() -> None:
    assert patience("punch-udp", conditions=Conditions(loss=0.1)) is None


def test_stacks_of_others_are_told_none() -> None:
    assert "patience" not in ADAPTERS["ice"].features
    assert patience("ice") is None
    assert patience("traversal-tcp", "libp2p") is None


@pytest.mark.parametrize("peer", PUNCHERS)
def test_a_peer_as_late_as_is_still_judged_has_twenty_round_trips_left(peer: str) -> None:
    found, known = patience(peer), MECHANISMS[ADAPTERS[peer].mechanism].patience
    assert found is not None
    assert known is not None
    assert found - known.waits_s - TOO_LATE_MS / 1000 >= 20 * 0.04


def outcomes(
    peer: str, skew_ms: float, nats: Iterable[str] = tuple(catalogue())
) -> dict[tuple[str, str], Outcome]:
    """How each of ``nats`` meets the `OTHERS`, as the model has it by its present times."""
    _predict.cache_clear()
    model, found = MECHANISMS[ADAPTERS[peer].mechanism].modes["punch"].model, {}
    for pair in product(nats, OTHERS):
        topology = preset("two-homes", *pair)
        declared = behaviours(topology, catalogue())
        found[pair] = predict(topology, declared, model, "a", "b", skew_ms=skew_ms).outcome
    _predict.cache_clear()
    return found


@pytest.mark.parametrize("skew_ms", [0.0, TOO_LATE_MS])
@pytest.mark.parametrize("peer", PUNCHERS)
def test_no_pair_of_nats_needs_longer_even_if_an_end_is_late_by_itself(
    peer: str, skew_ms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = outcomes(peer, skew_ms)
    assert set(usual.values()) == {Outcome.DIRECT, Outcome.NONE}
    monkeypatch.setattr(punching, "UDP_DEADLINE", patience("punch-udp"))
    monkeypatch.setattr(punching, "TCP_DEADLINE", patience("punch-tcp"))
    assert outcomes(peer, skew_ms) == usual


@pytest.mark.parametrize("peer", PUNCHERS)
def test_too_little_patience_gives_a_wrong_none(peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = outcomes(peer, TOO_LATE_MS, OTHERS)
    monkeypatch.setattr(punching, "UDP_DEADLINE", 0.2)
    monkeypatch.setattr(punching, "TCP_DEADLINE", 0.2)
    found = outcomes(peer, TOO_LATE_MS, OTHERS)
    assert any(found[pair] is Outcome.NONE is not usual[pair] for pair in usual)


def test_who_tries_for_a_shorter_time_tries_less_often() -> None:
    usual = Tries(is_probe, number=10, seconds=2.0)
    assert usual.within(1.0) == usual
    shorter = usual.within(0.4)
    assert shorter.number == 4
    assert shorter.seconds == pytest.approx(0.8)
    assert usual.within(0.01).number == 2


def test_a_mechanism_without_patience_leaves_it_to_its_stacks() -> None:
    assert of(Cell("ice", HOME).stacks).patience is None
