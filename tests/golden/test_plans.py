"""The plans of three labs, whole.  A change of wiring, addresses or rules shows here first.

After a wanted change: `testbed plan NAME -a port-restricted > tests/golden/plans/NAME.txt`.
"""

from pathlib import Path

import pytest

from testbed.model.presets import preset
from testbed.nat.load import catalogue
from testbed.plan.describe import describe
from testbed.plan.planner import plan

PLANS = Path(__file__).parent / "plans"


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.txt")), ids=lambda path: path.stem)
def test_a_plan_is_the_one_on_record(path: Path) -> None:
    assert describe(plan(preset(path.stem, "port-restricted"), catalogue())) == path.read_text()
