"""What counts as a disagreement between a link's claim and its measurement."""

from dataclasses import replace

import pytest
from link_measure import LinkMeasurement, disagreements

from testbed.model.topology import Impairment

CLAIM = Impairment(delay_ms=20, jitter_ms=4, loss=0.1, rate_mbit=10)
HONEST = LinkMeasurement(
    sent=1000,
    received=900,
    reordered=0,
    earliest_ms=16.1,
    median_ms=20.3,
    latest_ms=24.4,
    jitter_ms=4.1,
    rate_mbit=10.1,
    rate_over_ms=74.0,
)


def test_an_honest_measurement_agrees() -> None:
    assert disagreements(CLAIM, HONEST) == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"earliest_ms": 0.1, "median_ms": 0.1}, "median delay"),  # not applied
        ({"median_ms": 40.2}, "median delay"),  # applied twice
        ({"earliest_ms": 15.0}, "a datagram came after 15.00 ms"),  # one got past it
        ({"jitter_ms": 0.1}, "jitter"),
        ({"jitter_ms": 8.0}, "jitter"),
        ({"received": 1000}, "loss 0.0000"),
        ({"received": 800}, "loss 0.2000"),
        ({"rate_mbit": 900.0}, "rate 900.00"),
        ({"rate_mbit": 5.0}, "rate 5.00"),
        ({"rate_mbit": None}, "too few"),
        ({"reordered": 1}, "overtaken"),
        ({"sent": 100, "received": 90}, "too few to tell loss"),
    ],
)
def test_each_fault_is_named(changes: dict[str, float], complaint: str) -> None:
    said = disagreements(CLAIM, replace(HONEST, **changes))  # type: ignore[arg-type]
    assert any(complaint in sentence for sentence in said)


def test_a_single_datagram_lost_by_a_link_without_loss_is_a_disagreement() -> None:
    clean = replace(HONEST, received=999)
    assert disagreements(replace(CLAIM, loss=0.0), clean) == [
        "loss 0.0010 of 1000 datagrams, claimed 0"
    ]


def test_no_claimed_rate_is_not_held_against_any() -> None:
    assert disagreements(replace(CLAIM, rate_mbit=None), replace(HONEST, rate_mbit=900.0)) == []


def test_a_slow_line_may_take_its_time_for_the_probe_itself() -> None:
    slow = Impairment(rate_mbit=0.1)  # 106 bytes take 8.48 ms
    found = replace(
        HONEST, received=1000, earliest_ms=8.4, median_ms=8.6, jitter_ms=0.1, rate_mbit=0.1
    )
    assert disagreements(slow, found) == []
