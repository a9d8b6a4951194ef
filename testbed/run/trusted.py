"""Results that wait until it is known whether the NATs of their cells are what they declare."""

from collections.abc import Collection, Mapping, Sequence

from testbed.certify.beside import Certifying
from testbed.model.furnishing import nats
from testbed.model.profile import Profile
from testbed.model.result import Result
from testbed.model.verdict import Judgement, Recalled, Uncertified
from testbed.run.engine import Progress
from testbed.studies.punch.cell import Cell
from testbed.words import sentences


class Held:
    """The results of ``cells``, each told by ``progress`` once its NATs are known."""

    def __init__(
        self,
        cells: Sequence[Cell],
        profiles: Mapping[str, Profile],
        certifying: Certifying,
        progress: Progress,
    ) -> None:
        self._cells = {cell.name: cell for cell in cells}
        self._profiles = profiles
        self._certifying = certifying
        self._progress = progress
        self._waiting: list[tuple[Result, int]] = []
        self._told: dict[str, Result] = {}

    def take(self, result: Result, _count: int, total: int) -> None:
        """As `Progress`; other results may be told, too."""
        self._waiting.append((result, total))
        unproven = self._certifying.unproven()
        if unproven is None:
            return
        waiting, self._waiting = self._waiting, []
        for one, number in waiting:
            if unproven and self._bad(one, unproven):
                self._waiting.append((one, number))
            else:
                self._tell(one, number)

    def all(self, results: Sequence[Result]) -> list[Result]:
        """All ``results`` of a run that has ended; those that were not yet told are told now."""
        refused = self._certifying.refused()
        for one, total in self._waiting:
            self._tell(_distrusted(one, self._bad(one, refused)), total)
        return [self._told.get(one.name, one) for one in results]

    def _tell(self, result: Result, total: int) -> None:
        self._told[result.name] = result
        before = total - len(self._cells)
        self._progress(result, before + len(self._told), total)

    def _bad(self, result: Result, names: Collection[str]) -> Collection[str]:
        """Those of the NATs ``names`` that its cell has to do with."""
        return set(names).intersection(_crossed(self._cells[result.name], self._profiles))


def _crossed(cell: Cell, profiles: Mapping[str, Profile]) -> Collection[str]:
    """The NATs that may have to do with it: of a pair of a mesh, those of its ways."""
    topology = cell.build()
    if cell.meeting is None:
        return nats(topology, profiles).keys()
    ends = (cell.meeting.dialer, cell.meeting.listener)
    on_way = {router.name for end in ends for router in topology.path_out(end)}
    return nats(topology, profiles, on_way).keys()


def _distrusted(result: Result, bad: Collection[str]) -> Result:
    """A NAT that is not what it declares proves nothing about the stack behind it."""
    if not bad:
        return result
    reason = sentences([Uncertified(tuple(sorted(bad))), Recalled(result.reason)])
    return result.model_copy(update={"judgement": Judgement.INCONCLUSIVE, "reason": reason})
