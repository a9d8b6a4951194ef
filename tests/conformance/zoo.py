"""What a table of cheats is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from testbed.model.breach import BreachKind
from testbed.model.fault import FaultKind
from testbed.model.verdict import Judgement
from testbed.studies.punch.cell import Cell

Change = Callable[[], None]
Kind = FaultKind | BreachKind


@dataclass(frozen=True)
class Cheat:
    """What is changed in which cell, and what is due to it.

    ``kind``: of the fault or the breach by which it is told from others like it.  ``entry``: the
    stack whose program runs in place of the cell's own, which may be one that cannot be changed.
    """

    cell: Cell
    change: Callable[[Path], Change]  # of the cell's folder
    due: Judgement
    kind: Kind | None = None
    entry: str | None = None


def cheat(
    cell: Cell, change: Change, due: Judgement, kind: Kind | None = None, entry: str | None = None
) -> Cheat:
    return Cheat(cell, lambda _: change, due, kind, entry)
