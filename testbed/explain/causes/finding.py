"""A cause with its grounds, as every module here gives it."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from testbed.explain.scene import Crossing
from testbed.model.explanation import Cause, Citation, Line
from testbed.model.frozen import FrozenValue
from testbed.model.packet import Packet
from testbed.model.statement import Statement


class Finding(FrozenValue):
    """Why, where, and by which packets; `missing` where that cannot be known."""

    cause: Cause
    node: str | None
    headline: Statement
    lines: tuple[Line, ...] = ()
    decisive: tuple[Packet, ...] = ()  # of the moment that decided
    missing: tuple[Statement, ...] = ()

    def after(self, lines: Iterable[Line]) -> "Finding":
        """The same with more of the story."""
        return replace(self, lines=(*lines, *self.lines))


def unknown(headline: Statement, *missing: Statement, lines: Sequence[Line] = ()) -> Finding:
    """There is not enough to say why; ``missing`` says what it would take."""
    return Finding(Cause.UNKNOWN, None, headline, tuple(lines), missing=missing)


def line(fact: Statement, *packets: Packet | None) -> Line:
    """A statement with the packets that show it."""
    shown = {packet.number: packet for packet in packets if packet is not None}
    return Line(fact, tuple(Citation.of(packet) for packet in shown.values()))


def mapped(crossing: Crossing, fact: Statement) -> Line:
    """A statement about what a NAT made of a packet, which is seen on both its sides."""
    return line(fact, *crossing.packets)


def in_order(lines: Iterable[Line]) -> tuple[Line, ...]:
    """By time of the first packet cited; of several about the same packets the first."""
    timed: list[tuple[int, Line]] = []
    told: set[object] = set()
    latest = 0
    for one in lines:
        about = one.cites or one.fact
        if about in told:
            continue
        told.add(about)
        if one.cites:
            latest = min(cite.time_ns for cite in one.cites)
        timed.append((latest, one))
    return tuple(one for _, one in sorted(timed, key=lambda pair: pair[0]))
