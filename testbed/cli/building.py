"""What commands of labs and NATs share."""

import json
from typing import TYPE_CHECKING, Any

from testbed.errors import UsageError

if TYPE_CHECKING:  # else `testbed --help` waits for all of it
    from testbed.model.plan import Plan
    from testbed.model.presets import Found
    from testbed.model.profile import Profile


def built(topology: str, a: str | None, b: str | None, number: int = 0) -> "Plan":
    """The plan of a world, by name or file, between NATs; an error for what nobody knows."""
    from testbed.model.presets import asked
    from testbed.nat.load import by_name
    from testbed.plan.planner import plan

    world = asked(topology)
    given = given_profiles(world, a, b)
    chosen = world.topology(*(profile.name for profile in given))
    profiles = by_name(given, (router.profile for router in chosen.routers))
    return plan(chosen, profiles, number)


def given_profiles(world: "Found", a: str | None, b: str | None) -> "list[Profile]":
    """The profiles for the options of ``world``, where at least one is named.

    UsageError for -a or -b where no router of the world takes it.
    """
    from testbed.nat.load import named

    options = world.world.options
    for letter, word in (("a", a), ("b", b)):
        if word is not None and letter not in options:
            takes = " and ".join(f"-{one}" for one in options) or "neither -a nor -b"
            raise UsageError(
                f"-{letter} has no effect: {world.name} takes {takes}", remedy="leave it out"
            )
    given = dict(zip(("a", "b"), (a, b), strict=True))
    pairs = zip(options, world.world.defaults, strict=True)
    words = [given[letter] or default for letter, default in pairs]
    return named(words)


def emit(value: Any) -> None:
    """For machines."""
    print(json.dumps(value, indent=2))
