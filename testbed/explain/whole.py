"""Is the evidence whole?  What is not there proves something only if it would be there."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

from testbed.model.explanation import Evidence
from testbed.model.journey import Fate, Hop, Journey
from testbed.model.packet import Packet
from testbed.model.plan import LAN
from testbed.model.statement import Statement
from testbed.model.statement.lacks import (
    Blind,
    CountsFewer,
    DropCounters,
    Empty,
    Gaps,
    NotRecorded,
)


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
    def trouble(self) -> tuple[Statement, ...]:
        """What the capture lacks; nothing if it looks whole."""
        if self._evidence.packets is None:
            return (NotRecorded(),)
        if not self._evidence.packets:
            return (Empty(),)
        if self._gaps:
            return (Gaps(self._gaps, self._last),)
        return ()

    def blind(self, vantages: Iterable[str]) -> tuple[Statement, ...]:
        """Those of ``vantages`` at which nothing at all was recorded.

        An interface that is not the preferred one of its node may be silent.
        """
        plan = self._evidence.plan
        others = {f"{n.name}:{o.name}" for n in plan.topology.nodes for o in n.interfaces[1:]}
        planned = {vantage.name for vantage in plan.vantages} - others
        return tuple(Blind(name) for name in vantages if name in planned and name not in self._seen)

    def absent(self, *nodes: str) -> tuple[Statement, ...]:
        """What it would take to know that something did not pass ``nodes``."""
        names = (v.name for v in self._evidence.plan.vantages if v.node in nodes)
        return (*self.trouble, *self.blind(names))

    def unsure(self, hop: Hop) -> tuple[Statement, ...]:
        """What it would take to know that ``hop`` stopped its packet; nothing if it is known.

        The answer of a router proves it, or a counter of its rules, or else a capture
        that would show the packet on the other side.
        """
        if hop.fate is Fate.REJECTED:
            return ()
        if hop.inward is None:
            return self.absent(hop.node)
        lacking = (*self.trouble, *self.blind(self._onward(hop.node, hop.inward)))
        if hop.fate is Fate.TAKEN or hop.node not in self._evidence.behaviours:
            return lacking
        drops = self._evidence.drops
        if drops is None or hop.node not in drops:
            return (*lacking, DropCounters(hop.node)) if lacking else ()
        counted = drops[hop.node]
        known = counted.get(hop.rules[0], 0) if hop.rules else sum(counted.values())
        if self._stopped[hop.node, hop.rules[:1]] <= 2 * known:
            return ()  # some may have come when the counters had been read
        return (CountsFewer(hop.node), *lacking)

    def _onward(self, node: str, inward: Packet) -> Iterator[str]:
        """Where a router would have sent it out."""
        if node in self._evidence.behaviours:
            outside = self._evidence.plan.topology.node(node).interfaces[0].name
            yield f"{node}:{outside if inward.interface == LAN else LAN}"

    @cached_property
    def _stopped(self) -> Counter[tuple[str, tuple[str, ...]]]:
        """Router and likeliest rule, if there is one -> packets that seem to have ended by it."""
        ends = (journey.end for journey in self._journeys)
        return Counter((end.node, end.rules[:1]) for end in ends if end.fate is Fate.DROPPED)
