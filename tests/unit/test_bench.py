"""The benchmark's arithmetic: the protocol's minimum, phases of a node's events, goals of speed."""

import pytest

from testbed.bench.growth import homes
from testbed.bench.rivals import Rivals
from testbed.bench.table import Results
from testbed.bench.throughput import GOALS, Figures, Run, goals, table
from testbed.bench.upgrade import Phases, minimum, phases
from testbed.model.contract import Transport
from testbed.traversal import Multiaddr, PeerId, PrivateKey
from testbed.traversal.events import ConnectionOpened, Event, PunchStep

_ID = PeerId.from_public_key(PrivateKey.from_seed(bytes(32)).public)
_REMOTE = Multiaddr.parse("/ip4/198.51.100.1/tcp/4001")


def _opened(at: float, *, relayed: bool) -> Event:
    return ConnectionOpened(_ID, _REMOTE, "inbound", relayed, at=at)


def _step(at: float, step: str, attempt: int = 1) -> Event:
    return PunchStep(_ID, "initiator", attempt, step, at=at)


def test_the_minimum_is_five_and_a_half_round_trips_over_tcp_and_one_less_over_quic() -> None:
    assert minimum(Transport.TCP).total == 5.5
    assert minimum(Transport.UDP).total == 4.5


def test_the_phases_lie_between_what_the_leader_tells() -> None:
    told = [
        _opened(1.0, relayed=False),  # to the relay, before all
        _opened(2.0, relayed=True),
        _step(2.5, "connect_sent"),
        _step(2.75, "connect_received"),
        _step(3.0, "punching"),
        _opened(4.0, relayed=False),
    ]
    assert phases(told) == Phases(0.5, 0.5, 1.0, attempts=1)


def test_a_failed_attempt_counts_as_signalling() -> None:
    told = [
        _opened(2.0, relayed=True),
        _step(2.5, "connect_sent"),
        _step(3.0, "punching"),
        _step(5.0, "connect_sent", 2),
        _step(6.0, "punching", 2),
        _opened(6.5, relayed=False),
    ]
    assert phases(told) == Phases(0.5, 3.5, 0.5, attempts=2)


@pytest.mark.parametrize("punched", [True, False])
def test_a_reversed_or_missing_upgrade_has_no_phases(punched: bool) -> None:
    steps = [_step(2.5, "connect_sent"), _step(3.0, "punching")] if punched else []
    direct = [] if punched else [_opened(4.0, relayed=False)]
    assert phases([_opened(2.0, relayed=True), *steps, *direct]) is None


def judged(capsys: pytest.CaptureFixture[str], found: dict[str, Figures]) -> dict[str, str]:
    """By the goal's words: how its line ends."""
    goals({}, found)
    lines = capsys.readouterr().out.splitlines()
    return {
        goal.words: next(line for line in lines if goal.words in line).rsplit("  ", 1)[-1]
        for goal in GOALS
    }


def test_goals_of_speed_are_kept_missed_or_not_here(capsys: pytest.CaptureFixture[str]) -> None:
    found = {
        "tcp": Figures(bare=100.0, cpu=2.0, delayed=50.0),
        "ours-tcp": Figures(bare=60.0, cpu=6.1, delayed=36.0),
        "ours-quic": Figures(bare=20.0, cpu=40.0, delayed=None),
        "aioquic": Figures(bare=10.0, cpu=75.0, delayed=9.0),
        "qh3": Figures(bare=30.0, cpu=37.0, delayed=25.0),
        "relay-tcp": Figures(bare=50.0, cpu=10.0, delayed=40.0),
        "relay-quic": Figures(bare=10.0, cpu=20.0, delayed=9.0),
    }
    said = judged(capsys, found)
    assert said["processor time, our TCP / asyncio's"].endswith("MISSED")
    assert said["processor time, our QUIC / best Python engine"] == "goal: at most 1.1"
    assert said["rate over 40 ms, our TCP / asyncio's"] == "goal: at least 0.7"
    assert said["rate over 40 ms, our QUIC / asyncio's TCP"].endswith("not here")
    assert said["rate, our TCP / py-libp2p's"].endswith("not here")
    assert said["processor time, relay QUIC / TCP"] == "goal: at most 2"
    without = {key: figures for key, figures in found.items() if key != "qh3"}
    found["ours-quic"] = Figures(bare=20.0, cpu=41.0, delayed=None)
    engine = "processor time, our QUIC / best Python engine"
    assert judged(capsys, found)[engine].endswith("MISSED")
    assert judged(capsys, without)[engine] == "goal: at most 1.1"


def test_the_table_has_medians_beside_plain_tcp_and_says_who_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    results: Results = {}
    runs = {"tcp": [Run(90.0, 2.0), Run(110.0, 2.5), Run(100.0, 1.5)], "ours-tcp": []}
    found = table(results, runs, runs, Rivals(missing={"qh3": "no way out"}))
    out = capsys.readouterr().out
    assert found == {"tcp": Figures(100.0, 2.0, 100.0), "ours-tcp": Figures(None, None, None)}
    assert results["one stream, asyncio's TCP: MB/s, bare wires"] == 100.0
    assert results["one stream, asyncio's TCP: MB/s, bare wires / asyncio's TCP"] == 1.0
    assert "failed" in out
    assert "no way out" in next(line for line in out.splitlines() if line.startswith("qh3"))


@pytest.mark.parametrize("count", [500, 5000])
def test_a_lab_of_homes_has_as_many_nodes_as_it_is_measured_for(count: int) -> None:
    topology = homes(count)
    assert len(topology.cores) + len(topology.routers) + len(topology.hosts) == count
    assert len(topology.routers) == count // 5
