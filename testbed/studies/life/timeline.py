"""The moments of a life, with the packets in which they are seen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from testbed.model.contract import Event, Failed, FailureClass, Lost, Path, Upgraded
from testbed.model.life import MomentKind, Transport
from testbed.model.network_fault import Fault, words
from testbed.model.packet import Packet
from testbed.model.result import Moment
from testbed.studies.life.wire import SHAPE, opens

DIALER, LISTENER = "a", "b"
_ARRIVED = ("nat-b:lan", "b:eth0")  # where it is on the listener's own network
_WAY_NS = 300_000_000  # that a packet may take

_Found = tuple[int, MomentKind, str, str, tuple[int, ...]]  # time, kind, node, said, packets


@dataclass(frozen=True)
class Heard:
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
    routers: Sequence[str],
    relay: IPv4Address,
    transport: Transport,
    fault_ns: int,
    cited: Sequence[int],
    faults: Sequence[tuple[int, Fault]],
    heard: Sequence[Heard],
) -> tuple[Moment, ...]:
    """The moments in their order.  ``cited`` are the packets at the ends of the longest gap.

    The dialer is behind ``routers``, one after the other.
    """
    wires = {f"{router}:lan" for router in routers}
    moments: list[_Found] = [(at, MomentKind.FAULT, "", words(fault), ()) for at, fault in faults]
    moments += [*_said(heard), *_gap(packets, wires, fault_ns, cited)]
    moments += _ways(packets, wires, relay, transport, fault_ns)
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


def _said(heard: Sequence[Heard]) -> Iterator[_Found]:
    for one in heard:
        event = one.event
        if isinstance(event, Lost):
            words_ = f"{event.path.value}, {event.reason}" if event.reason else event.path.value
            yield one.time_ns, MomentKind.LOST, DIALER, words_, ()
        elif isinstance(event, Upgraded):
            yield one.time_ns, MomentKind.UPGRADED, DIALER, event.how.value, ()
        elif isinstance(event, Failed):
            yield one.time_ns, MomentKind.GIVEN_UP, DIALER, event.reason, ()


def _gap(
    packets: Sequence[Packet], wires: set[str], fault_ns: int, cited: Sequence[int]
) -> Iterator[_Found]:
    """Both ends of the longest gap, and in it the first packet that each place has stopped."""
    by_number = {packet.number: packet for packet in packets}
    ends = [by_number[number] for number in cited]
    kinds = (MomentKind.LAST_ECHO, MomentKind.FIRST_ECHO)
    for packet, kind in zip(ends, kinds, strict=False):
        yield packet.time_ns, kind, DIALER, "", (packet.number,)
    if not ends:
        return
    stop = ends[1].time_ns if len(ends) > 1 else packets[-1].time_ns
    start = max(ends[0].time_ns, fault_ns)
    within = [one for one in packets if start < one.time_ns < stop]
    places: set[str] = set()
    for packet in within:
        left = packet.vantage in wires and not packet.outgoing and packet.payload
        if left and packet.destination == ends[0].source:
            way = [one for one in within if one.payload == packet.payload and _forth(one, packet)]
            place = way[-1].vantage
            kind, said = MomentKind.STOPPED, place
            if place in _ARRIVED:
                kind, said, place = MomentKind.ARRIVED, LISTENER, LISTENER
            if place not in places and not (kind is MomentKind.ARRIVED and len(ends) > 1):
                places.add(place)
                yield packet.time_ns, kind, DIALER, said, tuple(one.number for one in way)


def _forth(one: Packet, first: Packet) -> bool:
    """The same packet at a later place of its way, and not one that is sent again."""
    on_the_way = 0 <= one.time_ns - first.time_ns < _WAY_NS
    return on_the_way and not one.vantage.startswith("core:")


def _ways(
    packets: Sequence[Packet],
    wires: set[str],
    relay: IPv4Address,
    transport: Transport,
    fault_ns: int,
) -> Iterator[_Found]:
    """The first opening of another connection, and the first echo of each way after another."""
    after = [p for p in packets if p.vantage in wires and p.time_ns > fault_ns]
    for packet in after:
        if relay not in (packet.source.address, packet.destination.address) and opens(
            packet, transport
        ):
            yield packet.time_ns, MomentKind.OPENING, DIALER, "", (packet.number,)
            break
    relayed = False
    for packet in after:
        if not packet.outgoing or len(packet.payload) not in SHAPE:
            continue
        if (packet.source.address == relay) is not relayed:
            relayed = not relayed
            kind = MomentKind.RELAYED_ECHO if relayed else MomentKind.DIRECT_ECHO
            yield packet.time_ns, kind, DIALER, "", (packet.number,)
