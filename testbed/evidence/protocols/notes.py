"""Additions to labels, and finding what an answer answers."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import replace

from testbed.model.journey import Journey, Label, LabelNote, NoteKind

Labels = dict[int, Label]  # by the number of a journey's first packet


def noted(
    label: Label, text: str, *fields: tuple[str, str], kind: NoteKind = NoteKind.CONTEXT
) -> Label:
    """The label with more text and more fields at its end."""
    notes = (*label.notes, LabelNote(kind, text))
    return replace(label, notes=notes, fields=(*label.fields, *fields))


class Arrivals:
    """Journeys by a key and by when they were last seen."""

    def __init__(self) -> None:
        self._found: dict[Hashable, list[tuple[int, int, Journey]]] = defaultdict(list)
        self._sorted = True

    def add(self, key: Hashable, journey: Journey) -> None:
        # The number breaks ties, so that journeys themselves are never compared.
        self._found[key].append((journey.last.time_ns, journey.first.number, journey))
        self._sorted = False

    def before(self, key: Hashable, time_ns: int) -> Journey | None:
        """The latest of this key that was last seen by then; call it after all is added."""
        if not self._sorted:
            for arrivals in self._found.values():
                arrivals.sort(key=lambda arrival: arrival[:2])
            self._sorted = True
        arrivals = self._found.get(key, [])
        at = bisect_right(arrivals, time_ns, key=lambda arrival: arrival[0])
        return arrivals[at - 1][2] if at else None
