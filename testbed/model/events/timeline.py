"""What happens in the course of time, and what the wires are then."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from testbed.model.events.base import EventTable, Names
from testbed.model.frozen import FrozenValue
from testbed.model.life import Timers
from testbed.model.network_fault import Fault, LinkChange, LinkDown, LinkUp, LossBurst, LossOver
from testbed.model.topology import Link


class Wires(FrozenValue):
    """The links of a world by their names, and by the wires whose they are at the beginning."""

    names: Names
    begin: Mapping[tuple[str, str], Link]  # by node and interface; of the first, also without name


def timeline(
    events: Sequence[EventTable], timers: Timers, wires: Wires
) -> tuple[tuple[float, Fault], ...]:
    """What happens to stacks with these ``timers``, in the order of time."""
    told: list[tuple[float, Fault]] = []
    for event in events:
        at = event.at(timers)
        told += [(at, event.fault()), *((at + more, fault) for more, fault in event.later)]
    now = dict(wires.begin)
    found: list[tuple[float, Fault]] = []
    for at, said in sorted(told, key=lambda one: one[0]):
        fault = _named(said, wires.names)
        match fault:
            case LinkChange(node, name, _, interface):
                now[node, interface] = link = wires.names.links[name]
                found.append((at, LinkChange(node, name, link, interface)))
            case LossBurst(node, loss, _, interface):
                link = now[node, interface]
                up, down = (replace(w, loss=loss, burst=None) for w in (link.up, link.down))
                found.append((at, LossBurst(node, loss, Link(up, down), interface)))
            case LossOver(node, _, interface):
                found.append((at, LossOver(node, now[node, interface], interface)))
            case _:
                found.append((at, fault))
    return tuple(found)


def _named(fault: Fault, names: Names) -> Fault:
    """With its interface as the kernel calls it, where the file says its network."""
    match fault:
        case LinkDown() | LinkUp() | LinkChange() | LossBurst() | LossOver() if fault.interface:
            return replace(fault, interface=names.interface(fault.node, fault.interface))
        case _:
            return fault
