"""The statistics of few repetitions, held against published figures and against counting."""

from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.model.chance import difference, rank_test, shift, sign_test, wilson


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [  # R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_a_rates_bounds_are_those_published(hits: int, total: int, low: float, high: float) -> None:
    assert wilson(hits, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(
    ("new", "old", "low", "high"),
    [  # R. G. Newcombe, Statistics in Medicine 17 (1998), 873-890, table II, method 10
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_a_differences_bounds_are_those_published(
    new: tuple[int, int], old: tuple[int, int], low: float, high: float
) -> None:
    assert difference(old, new) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_rate_lies_within_its_bounds(rate: tuple[int, int]) -> None:
    low, high = wilson(*rate)
    assert 0 <= low <= rate[0] / rate[1] + 1e-12
    assert rate[0] / rate[1] - 1e-12 <= high <= 1


@pytest.mark.parametrize(
    ("old", "new", "sign"),
    [
        ((5, 5), (4, 5), 0),
        ((4, 5), (5, 5), 0),
        ((5, 5), (1, 5), -1),
        ((1, 5), (5, 5), 1),
        ((1, 1), (1, 2), 0),
        ((1, 1), (0, 1), -1),
        ((0, 1), (1, 1), 1),
        ((50, 100), (50, 100), 0),
        ((90, 100), (60, 100), -1),
    ],
)
def test_a_rate_has_moved_only_beyond_chance_or_where_both_are_of_one_mind(
    old: tuple[int, int], new: tuple[int, int], sign: int
) -> None:
    assert shift(old, new) == sign


@pytest.mark.parametrize(("one", "other"), [(2, 3), (4, 4), (3, 5)])
def test_ranks_are_as_likely_as_counting_all_orders_says(one: int, other: int) -> None:
    everything = range(one + other)
    samples = [
        (list(some), [x for x in everything if x not in some])
        for some in combinations(everything, one)
    ]
    for old, new in samples:
        inverted = sum(y < x for x in old for y in new)
        against = min(inverted, one * other - inverted)
        as_far = sum(
            min(u, one * other - u) <= against
            for a, b in samples
            for u in [sum(y < x for x in a for y in b)]
        )
        assert rank_test(old, new) == pytest.approx(min(1.0, as_far / comb(one + other, one)))


def test_ranks_need_four_repetitions_of_each_side_to_tell_anything() -> None:
    assert rank_test([1, 2, 3], [7, 8, 9]) > 0.05
    assert rank_test([1, 2, 3, 4], [7, 8, 9, 10]) < 0.05


def test_ties_are_no_difference() -> None:
    assert rank_test([1.0] * 9, [1.0] * 9) == 1.0


def test_the_approximation_for_large_samples_is_near_the_exact_figure() -> None:
    old, new = [float(x) for x in range(50)], [x + 10.5 for x in range(50)]
    exact = rank_test(old, new)
    near = rank_test([*old, 24.0], new)
    assert near == pytest.approx(exact, rel=0.3)


def test_signs_are_as_likely_as_tossed_coins() -> None:
    assert sign_test(10, 0) == 2 / 1024
    assert sign_test(5, 5) == sign_test(0, 0) == 1.0
    assert sign_test(2000, 1000) < 1e-60
