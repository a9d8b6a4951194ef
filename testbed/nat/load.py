"""NAT profiles from ``nat-profiles/*.toml``.

A file holds ``title``, ``met``, ``source`` and ``engine``; the fields of
`Behaviour` at the top; tables ``[udp]``, ``[tcp]`` (`Transport`),
``[timeouts]``, ``[port_mapping]`` and ``[[forwards]]``; and ``[both]``, which
stands for what ``[udp]`` and ``[tcp]`` do not say themselves.  Nothing else: an unknown key, a
wrong type or a wrong word is a `ProfileError` with file, line and remedy.
"""

import dataclasses
import difflib
import re
import tomllib
import typing
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NoReturn

from testbed.errors import ProfileError
from testbed.nat.behaviour import Behaviour, PortRange, Timeouts
from testbed.nat.profile import Profile
from testbed.nat.rules import TEMPLATES, check
from testbed.plan.model import Engine

DEFAULT = TEMPLATES.parent

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


def catalogue(folder: Path = DEFAULT) -> dict[str, Profile]:
    """Every profile of ``folder``, sorted by name."""
    profiles = {path.stem: load(path) for path in sorted(folder.glob("*.toml"))}
    if not profiles:
        raise ProfileError(f"no profiles in {folder}")
    return dict(sorted(profiles.items()))


def find(name: str) -> Profile:
    """The profile called ``name``; ProfileError with near names if there is none."""
    path = DEFAULT / f"{name}.toml"
    known = sorted(path.stem for path in DEFAULT.glob("*.toml"))
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5) or known
        raise ProfileError(f"unknown profile {name!r}", remedy=f"one of: {', '.join(near)}")
    return load(path)


def named(names: Iterable[str]) -> list[Profile]:
    """The profiles called ``names``, in that order."""
    return [find(name) for name in names]


def with_timeouts(profile: Profile, timeouts: Timeouts) -> Profile:
    """The same NAT with other timers, so that nobody waits 120 s; checked."""
    behaviour = dataclasses.replace(profile.behaviour, timeouts=timeouts)
    changed = dataclasses.replace(profile, behaviour=behaviour)
    check(changed)
    return changed


def load(path: Path) -> Profile:
    """Read and check one profile; ProfileError says file, line, key and what was expected."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: {error}") from error
    reader = _Reader(path, text)
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers and nests beyond Python
        raise ProfileError(f"{path}: {error}") from error
    profile = reader.profile(tables)
    try:
        check(profile)
    except ProfileError as error:
        raise ProfileError(f"{path}: {error.message}", remedy=error.remedy) from None
    return profile


class _Reader:
    """One file: turns its tables into the frozen values, and knows its lines."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.lines = text.splitlines()

    def profile(self, tables: dict[str, Any]) -> Profile:
        head = {key: self._take(tables, key) for key in (*_TEXTS, "engine")}
        texts = {key: self._value(str, head[key], (key,)) for key in _TEXTS}
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
            name=self.path.stem, engine=engine, behaviour=behaviour, path=self.path, **texts
        )

    def _take(self, tables: dict[str, Any], key: str) -> Any:
        if key not in tables:
            self._refuse((), f"missing key {key!r}")
        return tables.pop(key)

    def _value(self, kind: Any, value: Any, where: tuple[str, ...]) -> Any:
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

    def _tuple(self, kind: Any, items: list[Any], where: tuple[str, ...]) -> tuple[Any, ...]:
        made = tuple(self._value(kind, item, where) for item in items)
        for index, item in enumerate(made):
            if item in made[:index]:
                self._refuse(where, f"must be distinct, {items[index]} stands there twice")
        return made

    def _table(self, kind: type, value: Any, where: tuple[str, ...]) -> Any:
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

    def _refuse(self, where: tuple[str, ...], message: str) -> NoReturn:
        line = self._line(where)
        place = f"{self.path}:{line}" if line else str(self.path)
        key = f" {'.'.join(where)}:" if where else ""
        raise ProfileError(f"{place}:{key} {message}")

    def _line(self, where: tuple[str, ...]) -> int | None:
        """The line of a key, 1 the first; None where it is not written out.

        A key of ``[udp]`` or ``[tcp]`` may have come from ``[both]``.
        """
        if not where:
            return None
        sections = {where[0]} if len(where) > 1 else {""}
        if where[0] in ("udp", "tcp") and len(where) > 1:
            sections.add("both")
        word = where[1] if len(where) > 1 else where[0]
        found, section = None, ""
        for number, line in enumerate(self.lines, 1):
            if header := re.match(r"\s*\[+\s*([\w-]+)", line):
                section = header[1]
                if where == (section,):
                    return number
            elif section in sections and re.match(rf'\s*"?{re.escape(word)}"?\s*=', line):
                found = number
                if section == where[0] or not section:
                    return number
        return found
