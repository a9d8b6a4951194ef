"""NAT profiles: those of ``nat-profiles/*.toml``, and those of the user's own.

A user's are named by their paths, or lie in a folder: the one that TESTBED_PROFILES names,
else ``profiles`` in `testbed.places.configured`.

A file holds ``title``, ``met``, ``source`` and ``engine``; the fields of
`Behaviour` at the top; tables ``[udp]``, ``[tcp]`` (`Transport`),
``[timeouts]``, ``[port_mapping]`` and ``[[forwards]]``; and ``[both]``, which
stands for what ``[udp]`` and ``[tcp]`` do not say themselves.  Nothing else: an unknown key, a
wrong type or a wrong word is a `ProfileError` with file, line and remedy.
"""

import dataclasses
import os
import re
import tomllib
import typing
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NoReturn

from testbed import foreign, places
from testbed.errors import ProfileError
from testbed.model.behaviour import Behaviour, PortRange, Timeouts
from testbed.model.plan import Engine
from testbed.model.profile import Profile
from testbed.naming import instead
from testbed.nat.rules import TEMPLATES, check

DEFAULT = TEMPLATES.parent
VARIABLE = "TESTBED_PROFILES"  # names the folder of the user's own
SETS = ("all", "classic", "default", "nine")  # what else ``--profiles`` understands

LIST = "testbed nat list"  # the command that shows them

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
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


def catalogue() -> dict[str, Profile]:
    """Every profile that has a name, ours and the user's, sorted by it."""
    return {name: find(name) for name in _names()}


def is_path(word: str) -> bool:
    """True of a word that is a file's path, and no name."""
    return word.endswith(".toml") or "/" in word


def is_own(profile: Profile) -> bool:
    """True of a profile that is the user's, and none of those that come with the testbed."""
    return profile.path is None or not profile.path.is_relative_to(DEFAULT)


def find(word: str, start: Path = Path()) -> Profile:
    """The profile that ``word`` means, a name or a path, which begins at ``start``.

    ProfileError with near names if there is none, and where two have one name.
    """
    if is_path(word):
        path = start / Path(word).expanduser()
        ours = DEFAULT / path.name
        return load(ours) if ours.exists() and _same(ours, path) else _own(path)
    known = _names()
    if word not in known:
        raise ProfileError(f"unknown profile {word!r}", remedy=instead(word, known, LIST))
    folder = own_folder()
    if folder is not None and (folder / f"{word}.toml").exists():
        return _own(folder / f"{word}.toml")
    return load(DEFAULT / f"{word}.toml")


def named(words: Iterable[str], start: Path = Path()) -> list[Profile]:
    """The profiles that ``words`` mean, in that order; ProfileError where two share a name."""
    found = [find(word, start) for word in words]
    paths: dict[str, Path | None] = {}
    for profile in found:
        other = paths.setdefault(profile.name, profile.path)
        if other and profile.path and not _same(other, profile.path):
            raise ProfileError(
                f"two profiles are called {profile.name}: {other} and {profile.path}",
                remedy="rename one of the files",
            )
    return found


def by_name(given: Iterable[Profile], names: Iterable[str]) -> dict[str, Profile]:
    """A profile for each of ``names``: one of those ``given``, else the one that has the name."""
    known = {profile.name: profile for profile in given}
    return {name: known.get(name) or find(name) for name in dict.fromkeys(names)}


def own_folder() -> Path | None:
    """The folder of the user's own profiles, if there is one."""
    if told := os.environ.get(VARIABLE):
        folder = Path(told).expanduser().absolute()
        if not any(folder.glob("*.toml")):
            raise ProfileError(
                f"no profiles in {folder}", remedy=f"--profiles-dir and {VARIABLE} name a folder"
            )
        return folder
    folder = places.configured() / "profiles"
    return folder if folder.is_dir() else None


def _names() -> list[str]:
    folders = [DEFAULT, *filter(None, [own_folder()])]
    return sorted({path.stem for folder in folders for path in folder.glob("*.toml")})


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _own(path: Path) -> Profile:
    """A user's own profile; its name is new, and can be a part of a path and of a pattern."""
    name = path.stem
    if not path.is_file():
        return load(path)  # which says what is wrong with it
    if (DEFAULT / f"{name}.toml").exists() or name in SETS:
        what = "set of profiles" if name in SETS else "profile of the testbed's own"
        raise ProfileError(
            f"{path}: there is a {what} called {name}", remedy="give the file another name"
        )
    if not _NAME.fullmatch(name) or "--" in name or path.suffix != ".toml":
        raise ProfileError(
            f"{path}: the file's name is the profile's, and does not do for one",
            remedy="letters, digits, '_' and single '-', then .toml: my-router.toml",
        )
    return load(path)


def with_timeouts(profile: Profile, timeouts: Timeouts) -> Profile:
    """The same NAT with other timers, so that nobody waits 120 s; checked."""
    behaviour = dataclasses.replace(profile.behaviour, timeouts=timeouts)
    changed = dataclasses.replace(profile, behaviour=behaviour)
    check(changed)
    return changed


def load(path: Path) -> Profile:
    """Read and check one profile; ProfileError says file, line, key and what was expected."""
    try:
        text = foreign.read_text(path, foreign.WRITTEN)
    except OSError as error:
        raise ProfileError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ProfileError(f"{path}:{line}: {error.reason}: not UTF-8") from error
    reader = _Reader(path, text)
    try:
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers and nests beyond Python
        at = re.search(r"\(at line (\d+)", str(error))
        line = int(at[1]) if at else max(1, len(reader.lines))  # else it is at the end
        raise ProfileError(f"{path}:{line}: {error}") from error
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
        self.text = text
        self.lines = text.splitlines()

    def profile(self, tables: dict[str, Any]) -> Profile:
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
        place = f"{self.path}:{self._line(where) or 1}"
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
