"""NAT profiles: those of ``nat-profiles/*.toml``, and those of the user's own.

A user's are named by their paths, or lie in a folder: the one that TESTBED_PROFILES names,
else ``profiles`` in `testbed.places.configured`.
"""

import dataclasses
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from testbed import foreign, places
from testbed.errors import ProfileError
from testbed.model.behaviour import Timeouts
from testbed.model.profile import Profile
from testbed.naming import instead
from testbed.nat.reader import Reader
from testbed.nat.rules import TEMPLATES, check

DEFAULT = TEMPLATES.parent
VARIABLE = "TESTBED_PROFILES"  # names the folder of the user's own
SETS = ("all", "classic", "default", "nine")  # what else ``--profiles`` understands

LIST = "testbed nat list"  # the command that shows them

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


def catalogue() -> dict[str, Profile]:
    """Every profile that has a name, ours and the user's, sorted by it."""
    return {name: _known(name) for name in _names()}


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
    return _known(word)


def _known(name: str) -> Profile:
    """The profile that has this name, which is one of `_names`."""
    folder = own_folder()
    if folder is not None and (folder / f"{name}.toml").exists():
        return _own(folder / f"{name}.toml")
    return load(DEFAULT / f"{name}.toml")


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
        text = foreign.read_text(path, foreign.WRITTEN, named=True)
    except OSError as error:
        raise ProfileError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ProfileError(f"{path}:{line}: {error.reason}: not UTF-8") from error
    return _profile(path, text)


@lru_cache(maxsize=1024)
def _profile(path: Path, text: str) -> Profile:
    """Of the file at ``path`` with this ``text``: many cells read the same few files."""
    profile = Reader(path, text).profile()
    try:
        check(profile)
    except ProfileError as error:
        raise ProfileError(f"{path}: {error.message}", remedy=error.remedy) from None
    return profile
