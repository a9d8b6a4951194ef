"""The moments of a life, with the packets in which they are seen."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address

from testbed.model.contract import Event, Failed, FailureClass, Lost, Path, Upgraded
from testbed.model.details import Moment
from testbed.model.frozen import FrozenValue
from testbed.model.life import MomentKind, Transport
from testbed.model.network_fault import Fault, words
from testbed.model.packet import Packet
from testbed.studies.life.seat import Seat
from testbed.studies.life.wire import echoed, opens

_WAY_NS = 300_000_000  # that a packet may take

_Found = tuple[int, MomentKind, str, str, tuple[int, ...]]  # time, kind, node, said, packets


class Ends(FrozenValue):
    """The two ends by name, and where they are seen."""

    dialer: str
    listener: str
    near: Seat  # the dialer's
    far: Seat
    cores: tuple[str, ...]  # of the internet, which nothing is told of

    def arrived(self, place: str) -> bool:
        """Whether a vantage is on the listener's own wire."""
        return place in [wire.vantage for wire in self.far.wires]


class Heard(FrozenValue):
    """What the dialer said, and when by the capture's clock."""

    time_ns: int
    event: Event

    @property
    def lost_direct(self) -> bool:
        """Whether it says that its direct connection is gone."""
        event = self.event
        if isinstance(event, Failed):
            return event.failure is FailureClass.LOST
        return isinstance(event, Lost) and event.path is Path.DIRECT


def timeline(
    packets: Sequence[Packet],
    ends: Ends,
    relay: IPv4Address,
    transport: Transport,
    fault_ns: int,
    cited: Sequence[int],
    faults: Sequence[tuple[int, Fault]],
    heard: Sequence[Heard],
) -> tuple[Moment, ...]:
    """The moments in their order.  ``cited`` are the packets at the ends of the longest gap."""
    moments: list[_Found] = [(at, MomentKind.FAULT, "", words(fault), ()) for at, fault in faults]
    moments += [*_said(heard, ends.dialer), *_gap(packets, ends, fault_ns, cited)]
    moments += _ways(packets, ends, relay, transport, fault_ns)
    moments.sort(key=lambda moment: moment[0])
    return tuple(
        Moment(
            seconds=round((at - fault_ns) / 1e9, 3),
            kind=kind,
            node=node,
            said=said,
            packets=numbers,
        )
        for at, kind, node, said, numbers in moments
    )


def _said(heard: Sequence[Heard], dialer: str) -> Iterator[_Found]:
    for one in heard:
        event = one.event
        if isinstance(event, Lost):
            words_ = f"{event.path.value}, {event.reason}" if event.reason else event.path.value
            yield one.time_ns, MomentKind.LOST, dialer, words_, ()
        elif isinstance(event, Upgraded):
            yield one.time_ns, MomentKind.UPGRADED, dialer, event.how.value, ()
        elif isinstance(event, Failed):
            yield one.time_ns, MomentKind.GIVEN_UP, dialer, event.reason, ()


def _gap(
    packets: Sequence[Packet], ends: Ends, fault_ns: int, cited: Sequence[int]
) -> Iterator[_Found]:
    """Both ends of the longest gap, and in it the first packet that each place has stopped."""
    by_number = {packet.number: packet for packet in packets}
    marks = [by_number[number] for number in cited]
    kinds = (MomentKind.LAST_ECHO, MomentKind.FIRST_ECHO)
    for packet, kind in zip(marks, kinds, strict=False):
        yield packet.time_ns, kind, ends.dialer, "", (packet.number,)
    if not marks:
        return
    stop = marks[1].time_ns if len(marks) > 1 else packets[-1].time_ns
    start = max(marks[0].time_ns, fault_ns)
    within = [one for one in packets if start < one.time_ns < stop]
    places: set[str] = set()
    for packet in within:
        if ends.near.sent(packet) and packet.payload and packet.destination == marks[0].source:
            same = (one for one in within if one.payload == packet.payload)
            way = [one for one in same if _forth(one, packet) and one.node not in ends.cores]
            place = way[-1].vantage
            kind, said = MomentKind.STOPPED, place
            if ends.arrived(place):
                kind, said, place = MomentKind.ARRIVED, ends.listener, ends.listener
            if place not in places and not (kind is MomentKind.ARRIVED and len(marks) > 1):
                places.add(place)
                yield packet.time_ns, kind, ends.dialer, said, tuple(one.number for one in way)


def _forth(one: Packet, first: Packet) -> bool:
    """The same packet at a later place of its way, and not one that is sent again."""
    return 0 <= one.time_ns - first.time_ns < _WAY_NS


def _ways(
    packets: Sequence[Packet],
    ends: Ends,
    relay: IPv4Address,
    transport: Transport,
    fault_ns: int,
) -> Iterator[_Found]:
    """The first opening of another connection, and the first echo of each way after another."""
    after = [p for p in packets if ends.near.sees(p) and p.time_ns > fault_ns]
    for packet in after:
        if relay not in (packet.source.address, packet.destination.address) and opens(
            packet, transport
        ):
            yield packet.time_ns, MomentKind.OPENING, ends.dialer, "", (packet.number,)
            break
    relayed = False
    for packet in after:
        if not echoed(packet, ends.near):
            continue
        if (packet.source.address == relay) is not relayed:
            relayed = not relayed
            kind = MomentKind.RELAYED_ECHO if relayed else MomentKind.DIRECT_ECHO
            yield packet.time_ns, kind, ends.dialer, "", (packet.number,)
