"""What ICE agents do differently, and what becomes of a pair of NATs by that."""

from dataclasses import replace
from itertools import product

import pytest

from testbed.model.ice_agent import IceAgent
from testbed.model.outcome import Outcome
from testbed.model.prediction import Prediction
from testbed.model.presets import carrier, two_homes
from testbed.model.reason import GaveUp, NotEvenRelayed, Raced
from testbed.nat.load import catalogue
from testbed.predict.ice import ICE
from testbed.predict.prediction import predict
from testbed.stacks.registry import ADAPTERS
from testbed.studies.punch.cell import Cell
from testbed.studies.punch.expectation import prediction

CATALOGUE = catalogue()
AGENTS = AIOICE, LIBNICE, PION = tuple(ADAPTERS[name].agent for name in ("ice", "libnice", "pion"))
CLASSIC = ("full-cone", "restricted-cone", "port-restricted", "symmetric", "udp-blocked")


def outcome(
    agents: tuple[IceAgent, IceAgent], a: str, b: str, *, skew_ms: float = 0, shared: bool = False
) -> Outcome:
    """Of two homes, or of two under one carrier's NAT."""
    return predicted(agents, a, b, skew_ms=skew_ms, shared=shared).outcome


def predicted(
    agents: tuple[IceAgent, IceAgent], a: str, b: str, *, skew_ms: float = 0, shared: bool = False
) -> Prediction:
    topology = (carrier if shared else two_homes)(a, b)
    behaviours = {r.name: CATALOGUE[r.profile].behaviour for r in topology.routers}
    return predict(topology, behaviours, ICE, "a", "b", skew_ms=skew_ms, agents=agents)


@pytest.mark.parametrize(("a", "b"), list(product(CLASSIC, CLASSIC)))
def test_between_classic_nats_every_pair_of_agents_ends_alike(a: str, b: str) -> None:
    """Also where one starts some milliseconds late, as on a machine with other work."""
    tried = product(product(AGENTS, AGENTS), (-5.0, 0.0, 5.0))
    assert len({outcome(agents, a, b, skew_ms=skew) for agents, skew in tried}) == 1


def test_a_cells_agents_are_those_of_its_stacks() -> None:
    cell = Cell("pion+ice", ("port-restricted", "port-restricted"), skew_ms=2600)
    assert prediction(cell, CATALOGUE).outcome is Outcome.NONE
    reason = prediction(cell, CATALOGUE).reason
    assert isinstance(reason, NotEvenRelayed)
    assert any(isinstance(lack, GaveUp) for lack in reason.lacks)


def test_who_checks_no_failed_pair_again_misses_a_listener_that_is_late() -> None:
    late = {"a": "port-restricted", "b": "port-restricted", "skew_ms": 2600.0}
    assert outcome((PION, AIOICE), **late) is Outcome.NONE  # type: ignore[arg-type]
    sound = replace(PION, rechecks_failed=(True, True))
    assert outcome((sound, AIOICE), **late) is Outcome.DIRECT  # type: ignore[arg-type]


def test_who_nominates_the_first_pair_takes_a_relay_where_the_listener_is_late() -> None:
    late = {"a": "port-restricted", "b": "port-restricted", "skew_ms": 1300.0}
    assert outcome((AIOICE, PION), **late) is Outcome.RELAYED  # type: ignore[arg-type]
    patient = replace(AIOICE, relays_wait=2.0)
    assert outcome((patient, PION), **late) is Outcome.DIRECT  # type: ignore[arg-type]


def test_a_relay_that_is_first_tried_when_pion_has_given_up_connects_nobody() -> None:
    impatient = replace(AIOICE, relays_wait=2.0)
    assert outcome((PION, impatient), "udp-blocked", "udp-blocked") is Outcome.NONE
    assert outcome((PION, AIOICE), "udp-blocked", "udp-blocked") is Outcome.RELAYED


@pytest.mark.parametrize(
    ("agents", "a", "b"),
    [
        ((LIBNICE, LIBNICE), "restricted-cone", "symmetric"),
        ((LIBNICE, LIBNICE), "symmetric", "restricted-cone"),
        ((LIBNICE, PION), "symmetric", "restricted-cone"),
    ],
)
def test_under_one_carrier_libnices_first_check_is_a_race(
    agents: tuple[IceAgent, IceAgent], a: str, b: str
) -> None:
    """No way lies between the homes: who is some ms earlier decides, and labs give both.

    A check that comes before the hole is open is sent again after 0.5 s; by then two
    relayed pairs have answered, and libnice takes one of them.
    """
    ends = {outcome(agents, a, b, skew_ms=skew, shared=True) for skew in (-5, 5)}
    assert ends == {Outcome.DIRECT, Outcome.RELAYED}
    told = predicted(agents, a, b, shared=True)
    assert {told.outcome, *told.race} == ends
    assert isinstance(told.reason, Raced)
    assert all(told.beside(end) is end for end in ends)
    assert told.chances is not None
    assert told.chances.borrowed  # so that repetitions may differ, and no rate is held
    assert {end for end in Outcome if told.chances.count(end)} == ends
    assert told.beside(Outcome.NONE) is told.beside(None) is told.outcome


def test_between_homes_that_lie_apart_there_is_no_race() -> None:
    for a, b in product(CLASSIC, CLASSIC):
        assert not any(predicted(ends, a, b).race for ends in product(AGENTS, AGENTS))


def test_two_sockets_behind_an_address_dependent_nat_are_kept_apart() -> None:
    """Both reach the other side's endpoint: the NAT there must tell their flows apart."""
    assert outcome((PION, AIOICE), "adm-eif", "adm-eif") is Outcome.DIRECT
