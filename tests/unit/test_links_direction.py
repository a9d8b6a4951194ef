"""One direction of a link, as a function of time."""

from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest

from testbed.errors import TopologyError
from testbed.lab.links.base import FULL_FRAME, IN_FLIGHT, frames_held
from testbed.lab.links.direction import Direction
from testbed.model.topology import Impairment

MS = 1_000_000
QUEUE_MS = Impairment().queue_ms


def due_of(direction: Direction, arrival: int, length: int) -> int | None:
    """When a frame leaves; None if it does not."""
    found = set(direction.admit(arrival, length))
    assert len(found) < 2
    return found.pop() if found else None


def fates(impairment: Impairment, seed: str = "s", count: int = 1000) -> list[int | None]:
    direction = Direction(impairment, seed)
    return [due_of(direction, number * MS, 100) for number in range(count)]


def test_without_impairment_a_frame_is_due_when_it_arrives() -> None:
    assert due_of(Direction(Impairment(), "s"), 17, 100) == 17


def test_delay_counts_from_the_arrival() -> None:
    assert due_of(Direction(Impairment(delay_ms=20), "s"), 5 * MS, 100) == 25 * MS


def test_jitter_stays_within_its_bounds_and_fills_them() -> None:
    direction = Direction(Impairment(delay_ms=20, jitter_ms=4), "s")
    extra = []
    for number in range(1000):
        arrival = number * 100 * MS  # far apart: order never holds a frame back
        due = due_of(direction, arrival, 100)
        assert due is not None
        extra.append((due - arrival) / MS)
    assert 16 <= min(extra) < 16.5
    assert 23.5 < max(extra) <= 24


def test_jitter_never_reorders() -> None:
    due = fates(Impairment(delay_ms=20, jitter_ms=20))
    assert due == sorted(due)  # type: ignore[type-var]


def test_a_shortened_delay_does_not_let_frames_overtake() -> None:
    direction = Direction(Impairment(delay_ms=50), "s")
    first = due_of(direction, 0, 100)
    direction.set(Impairment(delay_ms=1))
    assert due_of(direction, MS, 100) == first


def test_loss_is_as_frequent_as_claimed_and_counted() -> None:
    direction = Direction(Impairment(loss=0.1), "s")
    lost = sum(due_of(direction, number, 100) is None for number in range(10_000))
    assert 880 < lost < 1120  # four standard deviations
    assert direction.lost == lost


def test_the_same_seed_loses_the_same_frames() -> None:
    assert fates(Impairment(loss=0.3)) == fates(Impairment(loss=0.3))


def test_another_seed_loses_other_frames() -> None:
    assert fates(Impairment(loss=0.3), "s") != fates(Impairment(loss=0.3), "t")


def test_jitter_does_not_change_which_frames_are_lost() -> None:
    calm = Impairment(delay_ms=5, loss=0.3)
    missing = [due is None for due in fates(calm)]
    assert missing == [due is None for due in fates(replace(calm, jitter_ms=5))]


def test_a_rate_spaces_frames_by_their_length() -> None:
    direction = Direction(Impairment(rate_mbit=8), "s")  # a byte takes 1 us
    assert [due_of(direction, 0, 1000), due_of(direction, 0, 500)] == [1 * MS, 1.5 * MS]


def test_an_idle_line_does_not_save_its_rate_up() -> None:
    direction = Direction(Impairment(rate_mbit=8), "s")
    due_of(direction, 0, 1000)
    assert [due_of(direction, 100 * MS, 1000) for _ in range(2)] == [101 * MS, 102 * MS]


def test_the_queue_of_a_rate_is_bounded_and_its_drops_are_counted() -> None:
    direction = Direction(Impairment(rate_mbit=8), "s")
    due = [due_of(direction, 0, 1000) for _ in range(500)]
    kept = [moment for moment in due if moment is not None]
    assert len(kept) == QUEUE_MS + 1  # one a millisecond, and the one on the line
    assert direction.overflowed == 500 - len(kept)


def test_frames_in_flight_are_bounded_and_make_room_when_delivered() -> None:
    direction = Direction(Impairment(delay_ms=1000), "s")
    for _ in range(IN_FLIGHT):
        assert due_of(direction, 0, 100) is not None
    assert due_of(direction, 0, 100) is None
    direction.delivered()
    assert due_of(direction, 0, 100) is not None


def test_a_cut_wire_takes_nothing_in() -> None:
    direction = Direction(Impairment(delay_ms=1), "s")
    direction.cut = True
    assert due_of(direction, 0, 100) is None
    assert direction.severed == 1


@pytest.mark.parametrize(
    ("impairment", "frames"),
    [
        (Impairment(), IN_FLIGHT),
        (Impairment(rate_mbit=0.001), 2),
        (Impairment(rate_mbit=FULL_FRAME * 8 / 1000), QUEUE_MS),  # one frame a millisecond
        (Impairment(delay_ms=100, rate_mbit=FULL_FRAME * 8 / 1000), QUEUE_MS + 100),
    ],
)
def test_what_a_direction_holds_fills_its_delay_and_its_queue(
    impairment: Impairment, frames: int
) -> None:
    assert frames_held(impairment) == frames


def test_bursts_lose_the_share_that_is_claimed_in_runs_of_the_length_that_is_claimed() -> None:
    direction = Direction(Impairment(loss=0.1, burst=5), "s")
    fate = [not direction.admit(number, 100) for number in range(20_000)]
    runs = [len(list(run)) for lost, run in groupby(fate) if lost]
    assert 0.08 < sum(fate) / len(fate) < 0.12
    assert 4.5 < sum(runs) / len(runs) < 5.5


def test_a_frame_that_is_longer_than_the_black_hole_lets_through_vanishes() -> None:
    direction = Direction(Impairment(largest=1280), "s")
    assert direction.admit(0, 14 + 1280) == (0,)
    assert direction.admit(0, 14 + 1281) == ()
    assert (direction.oversized, direction.lost) == (1, 0)


def test_a_frame_that_is_chosen_overtakes_those_that_are_delayed() -> None:
    direction = Direction(Impairment(delay_ms=20, reorder=0.25), "s")
    due = [direction.admit(number * MS, 100)[0] for number in range(1000)]
    early = sum(when == number * MS for number, when in enumerate(due))
    assert 200 < early < 300
    assert all(when in (number * MS, (number + 20) * MS) for number, when in enumerate(due))


def test_a_frame_that_is_doubled_comes_twice_at_once() -> None:
    direction = Direction(Impairment(duplicate=0.1), "s")
    copies = [len(direction.admit(number, 100)) for number in range(10_000)]
    assert set(copies) == {1, 2}
    assert 900 < copies.count(2) < 1100
    assert direction.in_flight == sum(copies)


def test_the_queue_holds_what_its_bound_says() -> None:
    direction = Direction(Impairment(rate_mbit=8, queue_ms=10), "s")
    sent = [direction.admit(0, 1000) for _ in range(50)]  # 1 ms each
    assert sum(map(bool, sent)) == 11


@pytest.mark.parametrize(
    "wrong",
    [
        {"burst": 5},
        {"burst": 0.5, "loss": 0.1},
        {"reorder": 0.1},
        {"duplicate": 2},
        {"largest": 60},
    ],
)
def test_an_impairment_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TopologyError):
        Impairment(**wrong)
