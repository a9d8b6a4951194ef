"""Every packet followed from host to host, across wires, routers and translations.

Two kinds of steps make a way.  On a wire a frame stays as it is; inside a router it
loses one of its TTL and may change addresses and ports.  Both are found by hashing
what stays the same; time tells apart what is alike in that (`testbed.capture.pairing`).
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence

from testbed.capture.packet import Packet
from testbed.capture.pairing import WINDOW_NS, Key, Pair, identity, pair
from testbed.explain.model import Fate, Hop, Journey
from testbed.explain.way import Lab
from testbed.explain.way_end import Ends
from testbed.plan.model import Plan

_IPV4 = 0x0800
_LATE_NS = 20_000_000  # by which a busy machine may hold a frame beyond its link's delay
_INITIAL_TTLS = frozenset({64, 128, 255})


def stitch(
    packets: Sequence[Packet], plan: Plan, drops: Mapping[str, Mapping[str, int]] | None = None
) -> tuple[Journey, ...]:
    """The journeys of all IPv4 packets, in order of their first sight; total, whatever is missing.

    Every IPv4 packet is in exactly one journey.  ``drops``: router -> drop rule ->
    packets, where it was recorded.  A journey whose begin or end is not in the capture
    begins or ends where it was seen; so does one that was on a wire when the capture ended.
    """
    lab = Lab(plan)
    seen = sorted(
        (p for p in packets if p.ethertype == _IPV4 and p.ttl), key=lambda p: (p.time_ns, p.number)
    )
    steps = {id(a): b for a, b in (*_wires(lab, seen), *_transits(lab, seen))}
    reached = {id(packet) for packet in steps.values()}
    heads = [packet for packet in seen if id(packet) not in reached]
    stuck = [p for p in seen if not p.outgoing and id(p) not in steps]
    ends = Ends(lab, stuck, [p for p in heads if p.outgoing], drops)
    until_ns = seen[-1].time_ns if seen else 0
    return tuple(Journey(tuple(_hops(lab, head, steps, ends, until_ns))) for head in heads)


def _wires(lab: Lab, packets: Sequence[Packet]) -> Iterator[Pair]:
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


def _transits(lab: Lab, packets: Sequence[Packet]) -> Iterator[Pair]:
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


# Outbound a NAT rewrites the source, inbound the destination, of a hairpinned packet
# both.  The most that can stay the same is tried first, so likes are not mixed up.
_CONSTANT_IN_TURN: tuple[Key, ...] = (_both_ends, _destination, _source, _as_it_leaves)


def _hops(
    lab: Lab, head: Packet, steps: Mapping[int, Packet], ends: Ends, until_ns: int
) -> Iterator[Hop]:
    here: Packet | None = head
    if head.outgoing:
        yield Hop(head.node, _origin(lab, head), outward=head)
        here = steps.get(id(head))
        if here is None:
            yield from _lost(lab, head, until_ns)
    while here is not None:
        onward = steps.get(id(here))
        if onward is None:
            yield ends.of(here)
            return
        same = (here.source, here.destination) == (onward.source, onward.destination)
        yield Hop(here.node, Fate.FORWARDED if same else Fate.TRANSLATED, here, onward)
        here = steps.get(id(onward))
        if here is None:
            yield from _lost(lab, onward, until_ns)


def _origin(lab: Lab, packet: Packet) -> Fate:
    """SENT, unless a router passed on what the capture does not show it receive."""
    own = lab.owns(packet.node, packet.source.address)
    fresh = packet.ttl in _INITIAL_TTLS or packet.destination.address.is_multicast
    return Fate.SENT if lab.is_host(packet.node) or (own and fresh) else Fate.FORWARDED


def _lost(lab: Lab, packet: Packet, until_ns: int) -> Iterator[Hop]:
    """The hop that ``packet`` never reached, unless the capture ended while it was on its way."""
    target = lab.target(packet)
    if target is not None:
        due_ns = packet.time_ns + lab.patience_ns(packet, target) + _LATE_NS
        if due_ns <= until_ns:
            yield Hop(target.node, Fate.LOST)
