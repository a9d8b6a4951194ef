"""The single steps of packets: over a wire, through a router, and across what was not recorded."""

from collections import defaultdict, deque
from collections.abc import Hashable, Iterator, Sequence

from testbed.evidence.hops import Lab
from testbed.evidence.pairing import WINDOW_NS, Key, Pair, identity, pair
from testbed.model.packet import Packet

_FURTHEST = 8  # routers that may lie between two sights


def wires(lab: Lab, packets: Sequence[Packet]) -> Iterator[Pair]:
    """Outgoing packets with how they came in at the other end."""
    sent: dict[str, list[Packet]] = defaultdict(list)
    came: dict[str, list[Packet]] = defaultdict(list)
    for packet in packets:
        if not packet.outgoing:
            came[packet.vantage].append(packet)
        elif target := lab.target(packet):
            sent[target.name].append(packet)
    for name, befores in sent.items():
        target = lab.ports[name]
        yield from pair(
            befores,
            came[name],
            _as_it_is,
            _as_it_is,
            usual_ns=lab.delay_ns(befores[0], target),
            window_ns=WINDOW_NS + lab.patience_ns(befores[0], target),
        )


def transits(lab: Lab, packets: Sequence[Packet]) -> Iterator[Pair]:
    """Packets that came into a router or the core with how they went out."""
    came: dict[str, list[Packet]] = defaultdict(list)
    left: dict[str, list[Packet]] = defaultdict(list)
    for packet in packets:
        if packet.outgoing:
            left[packet.node].append(packet)
        elif not lab.overheard(packet):
            came[packet.node].append(packet)
    for node, befores in came.items():
        if lab.is_host(node):
            continue
        afters = left[node]
        for key in (_both_ends,) if lab.is_core(node) else _CONSTANT_IN_TURN:
            found = pair(befores, afters, key, key)
            yield from found
            taken = {id(packet) for couple in found for packet in couple}
            befores = [packet for packet in befores if id(packet) not in taken]
            afters = [packet for packet in afters if id(packet) not in taken]


def gaps(stuck: Sequence[Packet], astray: Sequence[Packet]) -> Iterator[Pair]:
    """Packets that were lost from sight with where they were seen again, further on."""
    lost: dict[tuple[int, Hashable], deque[Packet]] = defaultdict(deque)
    ends = sorted(stuck, key=lambda packet: packet.time_ns)
    known = {identity(packet) for packet in astray}
    ends = [packet for packet in ends if identity(packet) in known]
    ends.reverse()
    for after in sorted(astray, key=lambda packet: packet.time_ns):
        while ends and ends[-1].time_ns <= after.time_ns:
            lost[ends[-1].ttl, identity(ends[-1])].append(ends.pop())
        for ttl in range(after.ttl + 1, after.ttl + _FURTHEST):
            waiting = lost.get((ttl, identity(after)))
            while waiting and after.time_ns - waiting[0].time_ns > WINDOW_NS:
                waiting.popleft()
            if waiting:
                yield waiting.popleft(), after
                break


def _as_it_is(packet: Packet) -> Hashable:
    return packet.source, packet.destination, packet.ttl, identity(packet)


def _as_it_leaves(packet: Packet) -> Hashable:
    return packet.ttl if packet.outgoing else packet.ttl - 1, identity(packet)


def _both_ends(packet: Packet) -> Hashable:
    return packet.source, packet.destination, _as_it_leaves(packet)


def _destination(packet: Packet) -> Hashable:
    return packet.destination, _as_it_leaves(packet)


def _source(packet: Packet) -> Hashable:
    return packet.source, _as_it_leaves(packet)


def _interface(packet: Packet) -> Hashable:
    return packet.interface, _as_it_leaves(packet)


# Outbound a NAT rewrites the source, inbound the destination.  It rewrites both of a hairpinned
# packet, which goes out where it came in, and of a connection whose new addresses another one has
# already.  The most that can stay the same is tried first, so likes are not mixed up, and no
# hairpinned packet is taken for one that passed.
_CONSTANT_IN_TURN: tuple[Key, ...] = (_both_ends, _destination, _source, _interface, _as_it_leaves)
