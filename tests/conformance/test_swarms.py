"""Swarms in labs: what passes the relays, by the packets, by their kernels, and by the model."""

from pathlib import Path

import pytest

from testbed.lab.namespaces import Namespaces
from testbed.model.details import RelaysDetails
from testbed.model.outcome import Outcome
from testbed.model.population import Population
from testbed.model.result import Result
from testbed.model.swarming import Workload
from testbed.model.verdict import Judgement
from testbed.run.engine import run_study
from testbed.studies.relays.limits import PASSES
from testbed.studies.relays.study import STUDY
from testbed.studies.relays.swarm import FIELD, Swarm

SEED = 0  # by which two of the four pairs of eight peers can go direct
HALVES = Population(
    name="halves", title="t", source="none", shares={"linux-home": 0.7, "symmetric": 0.3}
)


def run(out: Path, *cases: Swarm) -> list[Result]:
    return run_study(STUDY, cases, Namespaces(), out, jobs=1, progress=lambda *_: None)


def details(result: Result) -> RelaysDetails:
    assert isinstance(result.details, RelaysDetails)
    return result.details


def test_the_pairs_of_a_swarm_go_the_ways_that_the_oracle_says(tmp_path: Path) -> None:
    off, on = run(
        tmp_path,
        *(Swarm(HALVES, 8, "traversal-tcp", upgrades, seed=SEED) for upgrades in (False, True)),
    )
    assert (off.judgement, off.reason) == (Judgement.PASS, "")
    assert (on.judgement, on.reason) == (Judgement.PASS, "")
    relayed, upgraded = details(off), details(on)
    assert relayed.count(Outcome.RELAYED) == 4
    assert upgraded.count(Outcome.DIRECT) == 2
    assert upgraded.count(Outcome.RELAYED) == 2
    for one in (relayed, upgraded):
        (relay,) = one.relays
        assert (relay.bytes, relay.packets) == (relay.counted_bytes, relay.counted_packets)
        assert sum(pair.relay_bytes for pair in one.pairs) == relay.bytes
    assert upgraded.relay_bytes < relayed.relay_bytes
    direct = [pair for pair in upgraded.pairs if pair.measured is Outcome.DIRECT]
    stayed = [pair for pair in upgraded.pairs if pair.measured is Outcome.RELAYED]
    for pair in direct:
        assert pair.direct_after_s is not None
        assert 40 <= (pair.trip_ms or 0) < 80 <= min(other.trip_ms or 0 for other in stayed)
    payload = PASSES * Swarm(HALVES, 8, "traversal-tcp", True).payload
    assert max(pair.relay_bytes for pair in direct) < payload
    assert min(pair.relay_bytes for pair in stayed) > payload


@pytest.mark.parametrize("stack", ["traversal-quic", "go-tcp"])
def test_requests_of_a_swarm_between_two_relays(stack: str, tmp_path: Path) -> None:
    case = Swarm(HALVES, 8, stack, True, 2, Workload.REQUESTS, seed=SEED)
    (found,) = run(tmp_path, case)
    assert (found.judgement, found.reason) == (Judgement.PASS, "")
    assert len(details(found).relays) == 2
    assert all(relay.bytes for relay in details(found).relays)


@pytest.mark.parametrize("stack", ["traversal-tcp", "go-quic"])
def test_neighbours_leave_four_relays_that_are_far_away(stack: str, tmp_path: Path) -> None:
    (found,) = run(tmp_path, Swarm(HALVES, 8, stack, True, 4, seed=SEED, world="far-relay"))
    assert (found.judgement, found.reason) == (Judgement.PASS, "")
    assert len(details(found).relays) == 4
    for pair in details(found).pairs:
        trip = pair.trip_ms or 0
        assert 20 <= trip < 60 if pair.measured is Outcome.DIRECT else trip >= 620
    assert details(found).count(Outcome.DIRECT) > 0


@pytest.mark.parametrize("stack", ["traversal-tcp", "traversal-quic"])
def test_the_limit_of_a_circuit_ends_a_large_transfer_by_the_relay_alone(
    stack: str, tmp_path: Path
) -> None:
    (found,) = run(tmp_path, Swarm(HALVES, 8, stack, True, seed=SEED, kib=256))
    assert (found.judgement, found.reason) == (Judgement.PASS, "")
    for pair in details(found).pairs:
        assert pair.finished is (pair.measured is Outcome.DIRECT)
    assert details(found).finished == 2


def test_a_relay_out_of_circuits_keeps_the_last_pairs_apart(tmp_path: Path) -> None:
    limits = FIELD.model_copy(update={"circuits": 3})
    (found,) = run(tmp_path, Swarm(HALVES, 8, "traversal-tcp", False, seed=SEED, limits=limits))
    assert (found.judgement, found.reason) == (Judgement.PASS, "")
    ways = [pair.measured for pair in details(found).pairs]
    assert ways == [Outcome.RELAYED] * 3 + [Outcome.NONE]


def test_a_circuit_ends_when_its_time_is_over(tmp_path: Path) -> None:
    limits = FIELD.model_copy(update={"duration": 1})
    case = Swarm(HALVES, 8, "traversal-tcp", False, 1, Workload.REQUESTS, seed=SEED, limits=limits)
    (found,) = run(tmp_path, case)
    assert (found.judgement, found.reason) == (Judgement.PASS, "")
    assert details(found).finished == 0
