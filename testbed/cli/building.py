"""What commands of labs and NATs share."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # else `testbed --help` waits for all of it
    from testbed.plan.model import Plan


def built(topology: str, a: str, b: str | None, number: int = 0) -> "Plan":
    """The plan of a preset between NATs; UsageError for a name that nobody knows."""
    from testbed.nat.load import find
    from testbed.plan.planner import plan
    from testbed.topology.presets import preset

    chosen = preset(topology, *([a, b] if b else [a]))
    profiles = {router.profile: find(router.profile) for router in chosen.routers}
    return plan(chosen, profiles, number)


def emit(value: Any) -> None:
    """For machines."""
    print(json.dumps(value, indent=2))
