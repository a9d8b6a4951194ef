"""Worlds by their names, those of ``testbed/worlds/``, and by their files.

The default internet has 20 ms one way between any two of its edges: each access
link adds 10 ms in each direction.  Without delay every skew between two peers
loses the race, and a punching result means nothing.
"""

import re
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from testbed import foreign
from testbed.errors import TopologyError, UsageError
from testbed.model.profile import Profile
from testbed.model.topology import Link, Topology
from testbed.model.world import Access, World, parse
from testbed.naming import instead
from testbed.places import PACKAGE

ACCESS = Link.both(delay_ms=10.0)
BARE = Link()
_POOL = 3  # external addresses of a router whose profile pools them, on the bench
FOLDER = PACKAGE / "worlds"
LIFE = FOLDER / "life"  # worlds in which something happens
PRESETS = tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))
LIVES = tuple(sorted(path.stem for path in LIFE.glob("*.toml")))
_OURS = {path.stem: path for folder in (FOLDER, LIFE) for path in folder.glob("*.toml")}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


class Found(NamedTuple):
    """A world with its name, and the file that it was read from."""

    name: str
    world: World
    path: Path
    text: str

    @property
    def own(self) -> bool:
        """Whether it is the user's, and none of those that come with the testbed."""
        return self.path != _OURS.get(self.name)

    @property
    def word(self) -> str:
        """What `find` finds it by again, wherever that is asked."""
        return str(self.path) if self.own else self.name

    def topology(self, *profiles: str, access: Access | None = None) -> Topology:
        """See `World.topology`."""
        return self.world.topology(self.name, profiles, access)

    def chosen(self, *profiles: str) -> tuple[str, ...]:
        """See `World.chosen`."""
        return self.world.chosen(self.name, profiles)


def is_path(word: str) -> bool:
    """True of a word that is a file's path, and no name."""
    return word.endswith(".toml") or "/" in word


def find(word: str, start: Path = Path()) -> Found:
    """The world that ``word`` means, a name or a path, which begins at ``start``.

    UsageError with near names if there is none; TopologyError naming file and line.
    """
    if not is_path(word):
        if word not in _OURS:
            near = instead(word, _OURS, "testbed world list")
            remedy = f"{near}\n  a world of your own is named by its file: ./my.toml"
            raise UsageError(f"unknown topology {word!r}", remedy=remedy)
        return _read(_OURS[word])
    path = start / Path(word).expanduser()
    known = _OURS.get(path.stem)
    if known and path.exists() and known.read_bytes() == path.read_bytes():
        return _read(known)
    return _read(path.absolute())


def asked(word: str, start: Path = Path()) -> Found:
    """As `find`, for the words of users: a file of theirs has a name of its own."""
    found = find(word, start)
    if found.own and found.name in _OURS:
        raise TopologyError(
            f"{found.path}: there is a world of the testbed's own called {found.name}",
            remedy="give the file another name",
        )
    return found


@lru_cache(maxsize=256)
def _read(path: Path) -> Found:
    """Once in a process: a file that is changed under a run does not change the run."""
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    try:
        text = foreign.read_text(path, foreign.WRITTEN, named=True)
    except OSError as error:
        raise TopologyError(f"{shown}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise TopologyError(f"{shown}:{line}: {error.reason}: not UTF-8") from error
    name = path.stem
    if not _NAME.fullmatch(name) or "--" in name or path.suffix != ".toml":
        raise TopologyError(
            f"{shown}: the file's name is the world's, and does not do for one",
            remedy="letters, digits, '_' and single '-', then .toml: my-world.toml",
        )
    return Found(name, parse(text, name, str(shown)), path, text)


def preset(word: str, *profiles: str, link: Link | None = None) -> Topology:
    """The topology of the world that ``word`` means, with ``profiles`` for -a and -b.

    ``link`` stands for those of all nodes on the internet.  UsageError if there is none.
    """
    return find(word).topology(*profiles, access=None if link is None else lambda _: link)


two_homes = partial(preset, "two-homes")
libp2p = partial(preset, "libp2p")
home_and_public = partial(preset, "home-and-public")
same_lan = partial(preset, "same-lan")
lan_party = partial(preset, "lan-party")
carrier = partial(preset, "carrier")
observers = partial(preset, "observers")


def probe_bench(profile: Profile) -> Topology:
    """What a NAT is measured from; one that pools addresses has some."""
    topology = preset("probe-bench", profile.name)
    if profile.behaviour.pooling is None:
        return topology
    routers = (replace(router, external_addresses=_POOL) for router in topology.routers)
    return replace(topology, routers=tuple(routers))
