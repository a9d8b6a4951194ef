"""What a project is rendered from; its folder keeps it, so that it can be certified later."""

import json
import shlex
from dataclasses import field, replace
from pathlib import Path

from testbed import foreign
from testbed.certify.certificates import shortened
from testbed.errors import UsageError
from testbed.model.frozen import FrozenValue
from testbed.model.plan import Plan
from testbed.model.presets import BARE, Found, find
from testbed.model.profile import Profile
from testbed.model.topology import Topology
from testbed.nat.load import by_name, is_own, load
from testbed.plan.planner import plan

FILE = "testbed.json"
PROFILES = "profiles"  # beside it: the files of all NATs
WORLDS = "worlds"  # and that of the world


class Source(FrozenValue):
    """``certifiable``: with timers that certification can wait for, and links without delay.

    ``given``: profiles that are not to be looked up by their names.
    """

    topology: str  # a world's name, or its file
    profiles: tuple[str, ...]
    number: int = 0
    certifiable: bool = False
    given: tuple[Profile, ...] = field(default=(), compare=False)

    def built(self) -> Topology:
        if not self.certifiable:
            return self.world.topology(*self.profiles)
        built = self.world.topology(*self.profiles, access=lambda _: BARE)
        return replace(built, regions=built.regions.at_one_place())

    @property
    def world(self) -> Found:
        return find(self.topology)

    def named(self) -> dict[str, Profile]:
        """The profiles of all routers, by name, as the project has them."""
        found = by_name(self.given, (router.profile for router in self.built().routers))
        if self.certifiable:
            return {name: shortened(profile) for name, profile in found.items()}
        return found

    def plan(self) -> Plan:
        """UsageError, ProfileError or TopologyError for what cannot be."""
        return plan(self.built(), self.named(), self.number)

    def command(self) -> str:
        """That renders the same again."""
        own = {one.name: str(one.path) for one in self.given if is_own(one)}
        options = [
            f"-{letter} {shlex.quote(own.get(name, name))}"
            for letter, name in zip(self.world.world.options, self.profiles, strict=False)
        ]
        words = [
            "testbed compose render",
            shlex.quote(self.world.word),
            *options,
            f"--number {self.number}",
        ]
        return " ".join([*words, "--certifiable"] if self.certifiable else words)

    def to_json(self) -> str:
        """Without the profiles' files, which are kept beside it."""
        value = {
            "topology": self.world.name,
            "profiles": self.profiles,
            "number": self.number,
            "certifiable": self.certifiable,
        }
        return json.dumps(value, indent=2) + "\n"

    def files(self) -> dict[str, str]:
        """What a folder keeps of it, by paths."""
        kept = {f"{PROFILES}/{name}.toml": one.text for name, one in self.named().items()}
        kept[f"{WORLDS}/{self.world.name}.toml"] = self.world.text
        return {FILE: self.to_json(), **kept}


def read(folder: Path) -> Source:
    """UsageError where ``folder`` holds no rendered project."""
    file = folder / FILE
    try:
        data = json.loads(foreign.read_text(file, named=True))
        name = str(data["topology"])
        kept, profiles = (
            folder / WORLDS / f"{name}.toml",
            sorted((folder / PROFILES).glob("*.toml")),
        )
        if Path(name).name != name:
            raise ValueError(f"topology {name!r} is no name")
        for path in (kept, *profiles):
            foreign.require_within(path)
        source = Source(
            find(str(kept)).word if kept.exists() else name,
            _names(data["profiles"]),
            int(data["number"]),
            bool(data["certifiable"]),
            tuple(map(load, profiles)),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{file} says of no project: {error}",
            remedy="name a folder that `testbed compose render` has written",
        ) from None
    return source


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("profiles: not a list")
    return tuple(str(name) for name in value)
