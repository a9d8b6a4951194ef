"""What the packets of a swarm show: each pair's way, how fast it was, and the relays' load.

A packet at a relay is of the pair whose home its other address is: each peer has a NAT of its own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from statistics import median

from testbed.model.details import PairSeen, RelaySeen
from testbed.model.outcome import Outcome
from testbed.model.packet import Packet
from testbed.model.plan import Plan
from testbed.studies.relays.expect import ends_of
from testbed.studies.relays.limits import finishes
from testbed.studies.relays.run import Met, Swarmed, Window
from testbed.studies.relays.swarm import Swarm

FLOW_NS = 500_000_000  # of a relay's load over time


@dataclass
class _Load:
    """Frames at a relay."""

    packets: int = 0
    bytes: int = 0
    flow: list[int] = field(default_factory=list)

    def add(self, packet: Packet, since_ns: int | None = None) -> None:
        self.packets += 1
        self.bytes += packet.original_length
        place = None if since_ns is None else (packet.time_ns - since_ns) // FLOW_NS
        if place is None or place < 0:
            return
        self.flow += [0] * (place + 1 - len(self.flow))
        self.flow[place] += packet.original_length


class _Read:
    """The packets by whose they are."""

    def __init__(self, case: Swarm, found: Swarmed, packets: Iterable[Packet]) -> None:
        plan, topology = found.plan, case.topology
        self.relays = {a: name for name in case.relay_names for a in plan.addresses[name]}
        observers = {a for name in topology.observers for a in plan.addresses[name]}
        self.public = self.relays.keys() | observers
        self.whose = _homes(plan, case)
        starts = [one.start_ns for one in found.met if one.start_ns is not None]
        first = min(starts, default=None)
        self.at: dict[str, list[Packet]] = {}  # peer -> what passed it
        self.load = {name: _Load() for name in case.relay_names}
        self.of: dict[str, _Load] = {pair.name: _Load() for pair in case.pairs}
        for packet in packets:
            if packet.node not in self.load:
                self.at.setdefault(packet.node, []).append(packet)
                continue
            self.load[packet.node].add(packet, first)
            if (pair := self.whose.get(_other(packet))) is not None:
                self.of[pair].add(packet)


def pairs_seen(case: Swarm, found: Swarmed, packets: Iterable[Packet]) -> "Seen":
    """What became of all pairs, and what passed the relays."""
    read = _Read(case, found, packets)
    pairs = tuple(_pair(case, one, read) for one in found.met)
    relays = []
    for name, load in read.load.items():
        own, count = found.used[name], found.counted[name]
        relays.append(
            RelaySeen(
                name=name,
                bytes=load.bytes,
                packets=load.packets,
                counted_bytes=count.bytes,
                counted_packets=count.packets,
                cpu_s=own.cpu_s if own else None,
                memory_bytes=own.memory if own else None,
                flow=tuple(load.flow),
            )
        )
    return Seen(pairs, tuple(relays))


@dataclass(frozen=True)
class Seen:
    """Read off the packets."""

    pairs: tuple[PairSeen, ...]
    relays: tuple[RelaySeen, ...]


def _pair(case: Swarm, met: Met, read: _Read) -> PairSeen:
    pair = met.pair
    near, far = read.at.get(pair.dialer, []), read.at.get(pair.listener, [])
    load = read.of[pair.name]
    measured = _path((*met.trips, *met.work), near, far, read)
    done = sum(one.size for one in met.work if one.back)
    trips = [ms for one in met.trips if (ms := trip_ms(one, near)) is not None]
    direct = _direct_after(met, near, read) if measured is Outcome.DIRECT else None
    return PairSeen(
        name=pair.name,
        nats=pair.nats,
        measured=measured,
        possible=ends_of(case, pair),
        direct_after_s=direct,
        trip_ms=median(trips) if trips else None,
        rate_mbit=_rate(met.work, near),
        relay=pair.relay,
        relay_bytes=load.bytes,
        relay_packets=load.packets,
        asked=sum(case.echoes),
        done=0 if measured is Outcome.NONE else done,
        finishes=finishes(case, measured),
        late_ms=met.late_ms,
    )


def _path(
    work: Sequence[Window], near: Sequence[Packet], far: Sequence[Packet], read: _Read
) -> Outcome:
    """By which way the bytes of all echoes left and reached both ends.

    Payloads are counted, so that acknowledgements alone are no echo.
    """
    done = [one for one in work if one.back]
    if not done:
        return Outcome.NONE
    size = sum(one.size for one in done)
    start, end = done[0].start_ns, done[-1].end_ns
    ways = {Outcome.RELAYED: [0, 0, 0, 0], Outcome.DIRECT: [0, 0, 0, 0]}
    for place, packets in ((0, near), (2, far)):
        for packet in packets:
            other = _other(packet)
            if not start <= packet.time_ns <= end:
                continue
            if other in read.public and other not in read.relays:
                continue
            way = Outcome.RELAYED if other in read.relays else Outcome.DIRECT
            ways[way][place + packet.outgoing] += len(packet.payload)
    return next((way for way, counts in ways.items() if min(counts) >= size), Outcome.NONE)


def _direct_after(met: Met, near: Sequence[Packet], read: _Read) -> float | None:
    """When the first packet of the other end came in that had not passed a relay."""
    assert met.start_ns is not None  # it has echoed
    for packet in near:
        if packet.time_ns < met.start_ns or packet.outgoing:
            continue
        if packet.protocol in ("udp", "tcp") and _other(packet) not in read.public:
            return (packet.time_ns - met.start_ns) / 1e9
    return None


def trip_ms(window: Window, packets: Sequence[Packet]) -> float | None:
    """From the first packet that can hold the small echo to the first one that can hold it back."""
    sent: Packet | None = None
    for packet in packets:
        if not window.start_ns <= packet.time_ns <= window.end_ns:
            continue
        if len(packet.payload) < window.size:
            continue
        if packet.outgoing:
            sent = sent or packet
        elif sent is not None and _other(packet) == _other(sent):
            return (packet.time_ns - sent.time_ns) / 1e6
    return None


def _rate(work: Sequence[Window], near: Sequence[Packet]) -> float | None:
    """Of what came back, in Mbit/s, from the first packet out to the last one in."""
    done = [one for one in work if one.back]
    if not done:
        return None
    start, end = done[0].start_ns, done[-1].end_ns
    within = [p for p in near if start <= p.time_ns <= end and p.payload]
    out = next((p.time_ns for p in within if p.outgoing), None)
    back = next((p.time_ns for p in reversed(within) if not p.outgoing), None)
    if out is None or back is None or back <= out:
        return None
    return sum(one.size for one in done) * 8e3 / (back - out)


def _other(packet: Packet) -> IPv4Address:
    """The address that is not the recording node's."""
    return (packet.destination if packet.outgoing else packet.source).address


def _homes(plan: Plan, case: Swarm) -> dict[IPv4Address, str]:
    """Whose NAT has an address: the pair's name."""
    return {
        address: pair.name
        for pair in case.pairs
        for peer in (pair.dialer, pair.listener)
        for address in plan.addresses[f"nat-{peer}"]
    }
