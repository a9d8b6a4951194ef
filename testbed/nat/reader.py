"""The text of a profile's file becomes a profile, or an error that names line, key and remedy.

A file holds ``title``, ``met``, ``source`` and ``engine``; the fields of
`Behaviour` at the top; tables ``[udp]``, ``[tcp]`` (`Transport`),
``[timeouts]``, ``[port_mapping]`` and ``[[forwards]]``; and ``[both]``, which
stands for what ``[udp]`` and ``[tcp]`` do not say themselves.  Nothing else: an unknown key, a
wrong type or a wrong word is a `ProfileError`.
"""

import dataclasses
import tomllib
import typing
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NoReturn

from testbed import foreign
from testbed.errors import ProfileError
from testbed.model.behaviour import Behaviour, PortRange
from testbed.model.plan import Engine
from testbed.model.profile import Profile
from testbed.model.toml_lines import Place, broken_at, line_of, written

_TEXTS = ("title", "met", "source")
_LONGEST = 2_000_000  # seconds: conntrack counts them as jiffies, in a signed 32 bit number
_RANGES = {  # key -> lowest and highest value
    "first": (1, 65535),
    "last": (1, 65535),
    "external_port": (1, 65535),
    "internal_port": (1, 65535),
    "allowed_ports": (1, 65535),
    "seed": (0, 2**32 - 1),
    "quota": (1, 65535),
    "host": (0, 65535),
    "udp": (1, _LONGEST),  # these four in [timeouts]
    "udp_stream": (1, _LONGEST),
    "tcp_transitory": (1, _LONGEST),
    "tcp_established": (1, _LONGEST),
    "upnp_igd": (0, 2),
    "min_lease": (1, _LONGEST),
    "max_lease": (1, _LONGEST),
}


class Reader:
    """One file: turns its tables into the frozen values, and knows its lines."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text

    def profile(self) -> Profile:
        try:
            tables = tomllib.loads(self.text)
        except (ValueError, RecursionError) as error:  # also of numbers and nests beyond Python
            raise ProfileError(f"{self.path}:{broken_at(self.text, error)}: {error}") from error
        head = {key: self._take(tables, key) for key in (*_TEXTS, "engine")}
        texts = {key: foreign.words(self._value(str, head[key], (key,))) for key in _TEXTS}
        for key, value in texts.items():
            if not value.strip():
                self._refuse((key,), "is empty; say it, or say that there is none and why")
        engine = self._value(Engine, head["engine"], ("engine",))
        both = tables.pop("both", {})
        if not isinstance(both, dict):
            self._refuse(("both",), "must be a table")
        for name in ("udp", "tcp"):
            own = tables.get(name, {})
            if isinstance(own, dict):
                tables[name] = {**both, **own}
        behaviour = self._value(Behaviour, tables, ())
        return Profile(
            name=self.path.stem,
            engine=engine,
            behaviour=behaviour,
            path=self.path,
            text=self.text,
            **texts,
        )

    def _take(self, tables: dict[str, Any], key: str) -> Any:
        if key not in tables:
            self._refuse((), f"missing key {key!r}")
        return tables.pop(key)

    def _value(self, kind: Any, value: Any, where: Place) -> Any:
        """``value`` as ``kind``: a dataclass, an enum, a tuple, an optional or a plain type."""
        if typing.get_origin(kind) is tuple:
            if not isinstance(value, list):
                self._refuse(where, f"must be a list, not {value!r}")
            return self._tuple(typing.get_args(kind)[0], value, where)
        if isinstance(kind, UnionType):
            (kind,) = (part for part in typing.get_args(kind) if part is not NoneType)
        if dataclasses.is_dataclass(kind):
            return self._table(typing.cast(type, kind), value, where)
        if issubclass(kind, StrEnum):
            words = [str(word) for word in kind]
            if value not in words:
                self._refuse(where, f"must be one of {', '.join(words)}, not {value!r}")
            return kind(value)
        wanted = (int, float) if kind is float else kind
        if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
            self._refuse(where, f"must be of type {kind.__name__}, not {value!r}")
        lowest, highest = _RANGES.get(where[-1], (None, None))
        if lowest is not None and highest is not None and not lowest <= value <= highest:
            self._refuse(where, f"must be within {lowest} and {highest}, not {value}")
        return kind(value)

    def _tuple(self, kind: Any, items: list[Any], where: Place) -> tuple[Any, ...]:
        made = tuple(self._value(kind, item, where) for item in items)
        for index, item in enumerate(made):
            if item in made[:index]:
                self._refuse(where, f"must be distinct, {items[index]} stands there twice")
        return made

    def _table(self, kind: type, value: Any, where: Place) -> Any:
        if not isinstance(value, dict):
            self._refuse(where, f"must be a table, not {value!r}")
        kinds = typing.get_type_hints(kind)
        for key in value:
            if key not in kinds:
                self._refuse((*where, key), f"unknown key; known here: {', '.join(kinds)}")
        for field in dataclasses.fields(kind):
            if field.default is dataclasses.MISSING and field.name not in value:
                self._refuse(where, f"missing key {field.name!r}")
        made = kind(**{k: self._value(kinds[k], v, (*where, k)) for k, v in value.items()})
        if isinstance(made, PortRange) and made.size < 1:
            self._refuse(where, f"is empty: {made.first} to {made.last}")
        return made

    def _refuse(self, where: Place, message: str) -> NoReturn:
        place = f"{self.path}:{self._line(where)}"
        key = f" {'.'.join(where)}:" if where else ""
        raise ProfileError(f"{place}:{key} {message}")

    def _line(self, where: Place) -> int:
        """Of a key, which ``[udp]`` or ``[tcp]`` may have from ``[both]``."""
        if where[:1] in (("udp",), ("tcp",)) and where not in written(self.text):
            where = ("both", *where[1:])
        return line_of(self.text, where)
