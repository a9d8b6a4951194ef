"""What commands of labs and NATs share."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # else `testbed --help` waits for all of it
    from testbed.model.plan import Plan


def built(topology: str, a: str, b: str | None, number: int = 0) -> "Plan":
    """The plan of a preset between NATs, names or files; an error for what nobody knows."""
    from testbed.model.presets import preset
    from testbed.nat.load import by_name, named
    from testbed.plan.planner import plan

    given = named([a, b] if b else [a])
    chosen = preset(topology, *(profile.name for profile in given))
    profiles = by_name(given, (router.profile for router in chosen.routers))
    return plan(chosen, profiles, number)


def emit(value: Any) -> None:
    """For machines."""
    print(json.dumps(value, indent=2))
