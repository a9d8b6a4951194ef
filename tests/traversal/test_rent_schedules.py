"""What each side can lose is the credit, whatever happens (10,000: `rent_schedules.py`)."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.traversal.rent.meter import PayerMeter, RelayMeter

from . import rented
from .rent_schedules import SELDOM, USUAL, BrokenBoundError, play, schedule

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("first", range(0, 300, 100))
def test_no_schedule_costs_anybody_more_than_the_credit(first: int) -> None:
    for seed in range(first, first + 100):
        schedule(seed)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(USUAL * 3 + SELDOM), max_size=60))
def test_no_order_of_acts_costs_anybody_more_than_the_credit(acts: list[str]) -> None:
    play(rented.TERMS, acts)


def _lends_all(self: RelayMeter, now: int) -> int:
    del self, now
    return 1 << 40


def _signs_what_it_offered(self: PayerMeter, now: int) -> Any:
    del now
    return self.offered, self.got, 0


@pytest.mark.parametrize(
    ("kind", "name", "broken"),
    [(RelayMeter, "may_pass", _lends_all), (PayerMeter, "_owed", _signs_what_it_offered)],
)
def test_meters_that_are_broken_break_the_bound(
    kind: type, name: str, broken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    monkeypatch.setattr(kind, name, broken)
    with pytest.raises(BrokenBoundError):
        [schedule(seed) for seed in range(100)]
