"""What the values have in common that stages exchange: nothing of them changes."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, ClassVar, dataclass_transform


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
@dataclass(frozen=True)
class FrozenValue:
    """Every class below it is a frozen dataclass, and needs no decorator that says so.

    What `dataclass` would compile for each of some hundred classes, whenever a command starts, is
    written once here; it means the same.
    """

    _values: ClassVar[Callable[[Any], Any]]  # of the fields that are compared

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(frozen=True, eq=False, repr=False)(cls)
        names = [one.name for one in fields(cls) if one.compare]
        cls._values = attrgetter(*names) if names else lambda _: ()

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        values = self.__class__._values
        return bool(values(self) == values(other))

    def __hash__(self) -> int:
        return hash(self.__class__._values(self))

    def __repr__(self) -> str:
        names = [one.name for one in fields(self) if one.repr]
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{self.__class__.__qualname__}({shown})"
