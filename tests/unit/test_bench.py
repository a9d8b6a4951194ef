"""The benchmark's arithmetic: the protocol's minimum, and phases read off a node's events."""

import pytest

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
