"""The profiles of the catalogue that are nearest to a measurement."""

from collections.abc import Iterable

from testbed.certify.claims import Row, compare
from testbed.certify.derive import TIMERS
from testbed.certify.measured import (
    Measured,
)
from testbed.model.frozen import FrozenValue
from testbed.model.profile import Profile

_DECISIVE = ("blocked", "mapping", "filtering")
_NEVER_COMPARED = (*TIMERS, "refresh")


class Near(FrozenValue):
    """A profile of the catalogue, and the axes on which what was measured differs from it."""

    profile: Profile
    differs: tuple[Row, ...]
    agrees: int


def nearest(
    measured: Measured, profiles: Iterable[Profile], *, mappings: int, count: int = 3
) -> list[Near]:
    """The profiles with the fewest axes that differ, timers aside, the best first.

    What decides who is reached comes before the rest: a profile that does not translate has
    fewer axes to differ on.
    """
    return sorted(
        (_compared(profile, measured, mappings) for profile in profiles),
        key=lambda near: (
            sum(row.axis.partition(".")[2] in _DECISIVE for row in near.differs),
            len(near.differs),
            -near.agrees,
            near.profile.name,
        ),
    )[:count]


def _compared(profile: Profile, measured: Measured, mappings: int) -> Near:
    findings = dict(measured.axes())
    rows = [
        row
        for row in compare(profile.behaviour, measured, mappings=mappings)
        if row.axis not in _NEVER_COMPARED and findings[row.axis].value is not None
    ]
    differs = tuple(row for row in rows if not row.agrees)
    return Near(profile, differs, len(rows) - len(differs))
