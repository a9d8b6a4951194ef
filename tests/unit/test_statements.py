"""Each thing that an explanation can state has its sentence, which tells all that it states."""

import importlib
import pkgutil
import typing
from collections.abc import Iterator
from dataclasses import fields
from enum import Enum
from ipaddress import IPv4Address
from itertools import count
from types import NoneType, UnionType
from typing import Any

import pytest

import testbed.model.statement
from testbed.model.address import Sight
from testbed.model.behaviour import PortRange
from testbed.model.breach import Breach, Tried
from testbed.model.fault import CaptureLost, Fault
from testbed.model.packet import Endpoint
from testbed.model.reason import NobodySends, Reason
from testbed.model.statement import Statement
from testbed.model.statement.runs import PeerBroke
from testbed.model.trace import TraceStep
from testbed.words import explanations, sentence

_numbers = count(20)


def kinds() -> list[type[Statement]]:
    """Every statement that the model has."""
    for module in pkgutil.iter_modules(testbed.model.statement.__path__):
        importlib.import_module(f"testbed.model.statement.{module.name}")
    return sorted(_below(Statement), key=lambda kind: (kind.__module__, kind.__name__))


def _below(kind: type[Statement]) -> Iterator[type[Statement]]:
    for one in kind.__subclasses__():
        if one.__module__.startswith("testbed."):
            yield one
            yield from _below(one)


ONE = Endpoint(IPv4Address(1), 1)


def made(kind: Any) -> Any:
    """A value of ``kind``, unlike all others of it."""
    number = next(_numbers)
    simple = {
        str: f"word{number}",
        int: number,
        float: float(number),
        bool: True,
        Endpoint: Endpoint(IPv4Address(number), number),
        IPv4Address: IPv4Address(number),
        PortRange: PortRange(number, number + 1),
        Breach: Tried(Sight(number, "a:eth0", True, "udp", ONE, ONE, 3)),
        Fault: CaptureLost(f"word{number}", number),
        Reason: NobodySends("a", "b"),
    }
    if kind in simple:
        return simple[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        inner = arguments[:1] * 2 if arguments[1:] == (...,) else arguments
        return tuple(made(one) for one in inner)
    if origin in (typing.Union, UnionType):
        return made(next(one for one in arguments if one not in (NoneType, TraceStep)))
    if origin is typing.Literal:
        return arguments[0]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    if kind is Statement:
        return PeerBroke("a", f"word{number}")
    hints = typing.get_type_hints(kind)
    return kind(**{one.name: made(hints[one.name]) for one in fields(kind)})


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_each_statement_has_a_sentence_which_leaves_nothing_open(kind: type[Statement]) -> None:
    words = sentence(made(kind))
    assert words
    assert "{" not in words
    assert "(" not in words.partition(" ")[0], "a value was printed as Python has it"
    assert "None" not in words


def test_no_sentence_is_there_for_what_cannot_be_stated() -> None:
    assert {kind for kind in explanations.WORDS if kind.__module__.startswith("testbed.")} == set(
        kinds()
    )
