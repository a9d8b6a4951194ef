"""Which wires carry nothing in the course of time, and where chance decides."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from testbed.errors import UsageError
from testbed.model.frozen import FrozenValue
from testbed.model.network_fault import (
    Fault,
    LinkChange,
    LinkDown,
    LinkUp,
    LossBurst,
    LossOver,
    RelayRestart,
    Sleep,
    Wake,
    lasts,
)
from testbed.model.topology import Link, Topology

Wire = tuple[str, str]  # a node, and the name of its interface; empty: of its first wire
ASLEEP = "asleep"  # by what a wire is dead
STATE = "write what you expect: [expect] outcome and recovers_within_s"


@dataclass
class Wires:
    """``ever``: the wires that have ever been dead; ``touched``: the nodes whose are changed."""

    ever: set[Wire] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    _dead: set[tuple[Wire, str]] = field(default_factory=set)  # and by what

    @property
    def dead(self) -> frozenset[Wire]:
        """The wires that are."""
        return frozenset(wire for wire, _ in self._dead)

    @property
    def asleep(self) -> frozenset[str]:
        """The hosts that sleep, none of whose wires carries anything."""
        return frozenset(node for (node, _), by in self._dead if by == ASLEEP)

    def change(self, fault: Fault) -> bool:
        """Whether a wire comes back to life."""
        match fault:
            case LinkDown(node, interface) | LinkUp(node, interface):
                key, dead = ((node, interface), "cut"), isinstance(fault, LinkDown)
            case Sleep(node) | Wake(node):
                key, dead = ((node, ASLEEP), ASLEEP), isinstance(fault, Sleep)
            case (
                LinkChange(node, _, link, interface)
                | LossBurst(node, _, link, interface)
                | LossOver(node, link, interface)
            ):
                key, dead = ((node, interface), "loss"), _swallows(link)
            case _:
                return False
        self.touched.add(node)
        mended = key in self._dead and not dead
        if dead:
            self._dead.add(key)
            self.ever.add(key[0])
        else:
            self._dead.discard(key)
        return mended


class Past(FrozenValue):
    """When all is over: ``until`` when nothing may have been carried, in seconds."""

    dead: frozenset[Wire]
    ever: frozenset[Wire]
    touched: frozenset[str]
    until: float


def past(faults: Iterable[tuple[float, Fault]]) -> Past:
    """What ``faults`` leave behind."""
    wires, until = Wires(), 0.0
    for at, fault in faults:
        if wires.change(fault):
            until = max(until, at)
        if isinstance(fault, RelayRestart):
            until = max(until, at + lasts(fault))
    return Past(wires.dead, frozenset(wires.ever), frozenset(wires.touched), until)


def mends(fault: Fault) -> bool:
    """Whether it only brings a wire back to life."""
    match fault:
        case LinkUp() | Wake():
            return True
        case LinkChange(_, _, link, _) | LossOver(_, link, _):
            return not _swallows(link)
        case _:
            return False


def _swallows(link: Link) -> bool:
    return link.up.loss >= 1 or link.down.loss >= 1


def require_certain(topology: Topology, faults: Sequence[tuple[float, Fault]]) -> None:
    """UsageError where frames are lost by chance, of which the model tells nothing."""
    links = [one.link for node in topology.nodes for one in node.interfaces]
    links += [f.link for _, f in faults if isinstance(f, LinkChange | LossBurst | LossOver)]
    if any(0 < way.loss < 1 for link in links for way in (link.up, link.down)):
        raise UsageError(
            "the model does not know what frames are lost by chance",
            remedy=STATE,
        )
