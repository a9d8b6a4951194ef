"""A port that a router gave for a time: forwarded until then, and closed afterwards."""

import struct
from dataclasses import replace

import pytest
from test_explain import Run

from testbed.explain.explainer import explain
from testbed.model.explanation import Cause, Explanation
from testbed.model.outcome import Outcome
from testbed.model.packet import Endpoint
from testbed.model.statement.filters import LeaseGiven, LeaseOver

SECONDS = 2
MAPPED_UDP = 129  # RFC 6886 section 3.3


def knocked(after_ms: float, *, reaches: bool) -> Explanation:
    """nat-a gives port 4001 for 2 s at -500 ms; b, to whom a sends nothing, dials it."""
    run = Run("natpmp-home", "full-cone")
    run.learns("b", 4001)
    run.learns("a", 4001)
    answer = struct.pack("!BBHIHHI", 0, MAPPED_UDP, 0, 1, 4001, 4001, SECONDS)
    gateway = Endpoint(run.plan.internal["nat-a"], 5351)
    to = Endpoint(run.plan.address("a"), 5350)
    way = [("nat-a:lan", True, gateway, to, 0), ("a:eth0", False, gateway, to, 0)]
    run._put(-500, way, answer)
    at = run.at("nat-a", 4001)
    run.sends(after_ms, "b", 4001, at, 4001, inside="a" if reaches else "", stopped=not reaches)
    if reaches:
        run.sends(after_ms + 30, "a", 4001, run.at("nat-b", 4001), 4001, inside="b")
    whole = run.evidence(Outcome.DIRECT if reaches else Outcome.NONE)
    return explain(replace(whole, mode="plain_dial", dialer="b", listener="a"))


def test_within_its_time_a_lease_is_why_a_packet_came_in() -> None:
    found = knocked(100, reaches=True)
    assert (found.cause, found.node) == (Cause.PORT_MAPPED, "nat-a")


@pytest.mark.parametrize("late_ms", [100, 5000])
def test_after_it_a_lease_is_why_a_packet_did_not(late_ms: float) -> None:
    found = knocked(-500 + SECONDS * 1000 + late_ms, reaches=False)
    assert (found.cause, found.node) == (Cause.LEASE_EXPIRED, "nat-a")
    over = found.headline
    assert isinstance(over, LeaseOver)
    assert over.given == LeaseGiven("nat-a", 4001, SECONDS)
    assert over.over_s == pytest.approx((late_ms + 20) / 1000, abs=0.001)  # on its way


def test_a_lease_that_still_holds_is_not_over() -> None:
    found = knocked(100, reaches=False)
    assert found.cause is not Cause.LEASE_EXPIRED
