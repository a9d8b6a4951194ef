"""One direction of a link, as a function of time."""

from dataclasses import replace

import pytest

from testbed.lab.links.base import FULL_FRAME, IN_FLIGHT, QUEUE_MS, frames_held
from testbed.lab.links.direction import Direction
from testbed.model.topology import Impairment

MS = 1_000_000


def fates(impairment: Impairment, seed: str = "s", count: int = 1000) -> list[int | None]:
    direction = Direction(impairment, seed)
    return [direction.admit(number * MS, 100) for number in range(count)]


def test_without_impairment_a_frame_is_due_when_it_arrives() -> None:
    assert Direction(Impairment(), "s").admit(17, 100) == 17


def test_delay_counts_from_the_arrival() -> None:
    assert Direction(Impairment(delay_ms=20), "s").admit(5 * MS, 100) == 25 * MS


def test_jitter_stays_within_its_bounds_and_fills_them() -> None:
    direction = Direction(Impairment(delay_ms=20, jitter_ms=4), "s")
    extra = []
    for number in range(1000):
        arrival = number * 100 * MS  # far apart: order never holds a frame back
        due = direction.admit(arrival, 100)
        assert due is not None
        extra.append((due - arrival) / MS)
    assert 16 <= min(extra) < 16.5
    assert 23.5 < max(extra) <= 24


def test_jitter_never_reorders() -> None:
    due = fates(Impairment(delay_ms=20, jitter_ms=20))
    assert due == sorted(due)  # type: ignore[type-var]


def test_a_shortened_delay_does_not_let_frames_overtake() -> None:
    direction = Direction(Impairment(delay_ms=50), "s")
    first = direction.admit(0, 100)
    direction.set(Impairment(delay_ms=1))
    assert direction.admit(MS, 100) == first


def test_loss_is_as_frequent_as_claimed_and_counted() -> None:
    direction = Direction(Impairment(loss=0.1), "s")
    lost = sum(direction.admit(number, 100) is None for number in range(10_000))
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
    assert [direction.admit(0, 1000), direction.admit(0, 500)] == [1 * MS, 1.5 * MS]


def test_an_idle_line_does_not_save_its_rate_up() -> None:
    direction = Direction(Impairment(rate_mbit=8), "s")
    direction.admit(0, 1000)
    assert [direction.admit(100 * MS, 1000) for _ in range(2)] == [101 * MS, 102 * MS]


def test_the_queue_of_a_rate_is_bounded_and_its_drops_are_counted() -> None:
    direction = Direction(Impairment(rate_mbit=8), "s")
    due = [direction.admit(0, 1000) for _ in range(500)]
    kept = [moment for moment in due if moment is not None]
    assert len(kept) == QUEUE_MS + 1  # one a millisecond, and the one on the line
    assert direction.overflowed == 500 - len(kept)


def test_frames_in_flight_are_bounded_and_make_room_when_delivered() -> None:
    direction = Direction(Impairment(delay_ms=1000), "s")
    for _ in range(IN_FLIGHT):
        assert direction.admit(0, 100) is not None
    assert direction.admit(0, 100) is None
    direction.delivered()
    assert direction.admit(0, 100) is not None


def test_a_cut_wire_takes_nothing_in() -> None:
    direction = Direction(Impairment(delay_ms=1), "s")
    direction.cut = True
    assert direction.admit(0, 100) is None
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
