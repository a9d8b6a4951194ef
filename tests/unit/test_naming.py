"""A name that nobody knows is answered with what may have been meant."""

import pytest

from testbed.naming import instead, nearest, twice

KNOWN = ("full-cone", "restricted-cone", "port-restricted", "symmetric", "two-homes", "ice", "go")


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("full-con", "full-cone"),
        ("Symetric", "symmetric"),
        ("cone", "full-cone"),
        ("two-hoems", "two-homes"),
        ("icee", "ice"),
    ],
)
def test_a_slip_of_a_key_or_a_part_of_a_name_finds_it(word: str, first: str) -> None:
    assert nearest(word, KNOWN)[0] == first
    assert first in instead(word, KNOWN)
    assert instead(word, KNOWN).startswith("did you mean ")


def test_a_word_that_is_like_none_is_answered_with_all_or_with_where_they_are() -> None:
    assert instead("nowhere", ("slower",)) == "one of: slower"
    assert instead("nobody", KNOWN) == f"one of: {', '.join(KNOWN)}"
    many = [f"name-{n}" for n in range(100)]
    assert instead("xyz", many) == "one of: name-0, name-1, name-2, ..."
    assert instead("xyz", many, "testbed nat list") == "see `testbed nat list`"


def test_words_that_are_there_twice_are_found() -> None:
    assert twice(["a", "b", "a", "c", "b", "a"]) == ["a", "b"]
    assert twice(["a", "b"]) == []
