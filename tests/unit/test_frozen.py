"""A frozen value is to its users what a frozen dataclass is."""

import pickle
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace

import pytest

from testbed.model.frozen import FrozenValue


class Nothing(FrozenValue):
    """No field."""


class Value(FrozenValue):
    one: int
    two: str = "b"
    told: float = field(default=0.0, compare=False)
    text: str = field(default="long", repr=False)


class More(Value):
    three: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plain:
    one: int
    two: str = "b"
    told: float = field(default=0.0, compare=False)
    text: str = field(default="long", repr=False)


def test_it_is_equal_where_its_compared_fields_are_and_its_class_is_the_same() -> None:
    for kind in (Value, More, Plain):
        assert kind(1) == kind(1, told=2.0) != kind(2)
        assert len({kind(1), kind(1, told=2.0), kind(2), kind(1, text="short")}) == 3
    assert Value(1) != More(1)
    assert Value(1) != Plain(1)
    assert Nothing() == Nothing() != Value(1)
    assert hash(Nothing()) == hash(Nothing())


def test_it_shows_itself_as_a_dataclass_does() -> None:
    assert repr(Value(1)) == repr(Plain(1)).replace("Plain", "Value")
    assert repr(More(1, three=(2,))) == "More(one=1, two='b', told=0.0, three=(2,))"


def test_it_cannot_be_changed_and_can_be_replaced_and_kept() -> None:
    value = More(1)
    with pytest.raises(FrozenInstanceError):
        value.one = 2  # type: ignore[misc]
    assert replace(value, one=2) == More(2)
    assert pickle.loads(pickle.dumps(value)) == value
    assert [one.name for one in fields(More)] == ["one", "two", "told", "text", "three"]
    match value:
        case More(one, two):
            assert (one, two) == (1, "b")
