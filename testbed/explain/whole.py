"""Is the evidence whole?  What is not there proves something only if it would be there."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property

from testbed.model.explanation import Evidence, Fate, Hop, Journey

_OTHER_SIDE = {"lan": "wan", "wan": "lan"}


class Whole:
    """How far the evidence can be believed in what it does not show."""

    def __init__(self, evidence: Evidence, journeys: Sequence[Journey]) -> None:
        self._evidence = evidence
        self._journeys = journeys
        packets = evidence.packets or ()
        self._seen = frozenset(packet.vantage for packet in packets)
        self._last = max((packet.number for packet in packets), default=0)
        self._gaps = self._last - len({packet.number for packet in packets})

    @cached_property
    def trouble(self) -> tuple[str, ...]:
        """What the capture lacks, as sentences; none if it looks whole."""
        if self._evidence.packets is None:
            return ("the packets were not recorded",)
        if not self._evidence.packets:
            return ("the capture holds no packet",)
        if self._gaps:
            return (f"{self._gaps} of the capture's {self._last} packets are not in it any more",)
        return ()

    def blind(self, vantages: Iterable[str]) -> tuple[str, ...]:
        """Those of ``vantages`` at which nothing at all was recorded, as sentences."""
        planned = {vantage.name for vantage in self._evidence.plan.vantages}
        return tuple(
            f"no packet at {name} is in the capture"
            for name in vantages
            if name in planned and name not in self._seen
        )

    def absent(self, *nodes: str) -> tuple[str, ...]:
        """What it would take to know that something did not pass ``nodes``."""
        names = (v.name for v in self._evidence.plan.vantages if v.node in nodes)
        return (*self.trouble, *self.blind(names))

    def unsure(self, hop: Hop) -> tuple[str, ...]:
        """What it would take to know that ``hop`` stopped its packet; nothing if it is known.

        The answer of a router proves it, or a counter of its rules, or else a capture
        that would show the packet on the other side.
        """
        if hop.fate is Fate.REJECTED:
            return ()
        if hop.inward is None:
            return self.absent(hop.node)
        onward = f"{hop.node}:{_OTHER_SIDE.get(hop.inward.interface, '')}"
        lacking = (*self.trouble, *self.blind([onward]))
        if hop.fate is Fate.TAKEN or hop.node not in self._evidence.behaviours:
            return lacking
        drops = self._evidence.drops
        if drops is None or hop.node not in drops:
            return (*lacking, f"the drop counters of {hop.node}") if lacking else ()
        counted = drops[hop.node]
        known = counted.get(hop.rules[0], 0) if hop.rules else sum(counted.values())
        if self._stopped[hop.node, hop.rules[:1]] <= 2 * known:
            return ()  # some may have come when the counters had been read
        return (f"{hop.node} counts fewer packets that it dropped than vanish there", *lacking)

    @cached_property
    def _stopped(self) -> Counter[tuple[str, tuple[str, ...]]]:
        """Router and likeliest rule, if there is one -> packets that seem to have ended by it."""
        ends = (journey.end for journey in self._journeys)
        return Counter((end.node, end.rules[:1]) for end in ends if end.fate is Fate.DROPPED)
