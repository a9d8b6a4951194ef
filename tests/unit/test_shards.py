"""Which cells a shard has, whatever the matrix."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import UsageError
from testbed.nat.load import catalogue
from testbed.run.shards import Shard, differs, identity
from testbed.studies.punch.selection import DEFAULT, DEFAULT_PEERS, Selection

CELLS = Selection(DEFAULT, DEFAULT, DEFAULT_PEERS, repeat=3).cells()
PAIRS = [cell.pair for cell in CELLS]
FROZEN = [[0, 1], [2, 3, 4]]
names = st.lists(st.text("abcdefgh-/", min_size=1, max_size=6), min_size=1, max_size=60)


def parts(pairs: list[str], of: int) -> list[list[int]]:
    return [Shard(number, of).places(pairs) for number in range(1, of + 1)]


@given(names, st.data())
def test_every_cell_is_in_one_shard_and_no_shard_is_longer_by_two_pairs(
    pairs: list[str], data: st.DataObject
) -> None:
    of = data.draw(st.integers(1, len(set(pairs))))
    cut = parts(pairs, of)
    assert sorted(place for part in cut for place in part) == list(range(len(pairs)))
    assert all(part == sorted(part) for part in cut)
    sizes = {len({pairs[place] for place in part}) for part in cut}
    assert max(sizes) - min(sizes) <= 1


def test_repetitions_of_a_pair_are_in_one_shard() -> None:
    for part in parts(PAIRS, 8):
        assert set(Counter(PAIRS[place] for place in part).values()) == {3}


@given(st.lists(st.text("abcdefgh", min_size=1), min_size=10, max_size=60, unique=True), st.data())
def test_a_pair_that_is_added_moves_less_pairs_than_there_are_shards(
    pairs: list[str], data: st.DataObject
) -> None:
    of = data.draw(st.integers(1, 8))
    before, after = (
        {some[place]: number for number, part in enumerate(parts(some, of)) for place in part}
        for some in (pairs, [*pairs, "a pair that is new"])
    )
    assert sum(before[pair] != after[pair] for pair in pairs) < of


def test_the_cut_is_the_same_on_every_machine() -> None:
    """A frozen one: a change of it would make old shards and new ones of one run differ."""
    assert parts(["ice/a--b", "ice/b--a", "udp/a--b", "udp/a--b", "udp/b--b"], 2) == FROZEN


@pytest.mark.parametrize("words", ["", "1", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1/9999"])
def test_what_is_no_shard_is_refused(words: str) -> None:
    with pytest.raises(UsageError, match="--shard must be I/N"):
        Shard.parse(words)


def test_more_shards_than_pairs_are_refused_by_all_of_them() -> None:
    for number in (1, 5):
        with pytest.raises(UsageError, match="2 pairs cannot be cut into 5 shards"):
            Shard(number, 5).places(["x", "y"])


def test_a_run_is_told_from_another_by_each_thing_that_makes_it() -> None:
    profiles = catalogue()
    rest: dict[str, Any] = {"backend": "namespaces", "certified": True}
    ours = identity(CELLS, profiles, seed=0, **rest)
    assert identity(CELLS, dict(reversed(profiles.items())), seed=0, **rest) == ours
    assert differs(ours, ours) is None
    fewer = {name: one for name, one in profiles.items() if name != "full-cone"}
    for other, field in (
        (identity(CELLS, profiles, seed=1, **rest), "seed"),
        (identity(CELLS[1:], profiles, seed=0, **rest), "selection"),
        (identity(CELLS, fewer, seed=0, **rest), "profiles"),
        (identity(CELLS, profiles, seed=0, **rest | {"certified": False}), "certified"),
    ):
        assert (differs(other, ours) or "").startswith(f"another {field}")
