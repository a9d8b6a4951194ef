"""Every packet followed from host to host, across wires, routers and translations.

Two kinds of steps make a way.  On a wire a frame stays as it is; inside a router it
loses one of its TTL and may change addresses and ports.  Both are found by hashing
what stays the same; time tells apart what is alike in that (`testbed.evidence.pairing`).
"""

from collections.abc import Generator, Iterator, Mapping, Sequence

from testbed.evidence.hop_ends import Ends
from testbed.evidence.hop_steps import gaps, transits, wires
from testbed.evidence.hops import Lab
from testbed.model.journey import Fate, Hop, Journey
from testbed.model.packet import NOWHERE, Packet
from testbed.model.plan import Plan

_IPV4 = 0x0800
_LATE_NS = 20_000_000  # by which a busy machine may hold a packet beyond its link's delay
_INITIAL_TTLS = frozenset({64, 128, 255})


def stitch(
    packets: Sequence[Packet], plan: Plan, drops: Mapping[str, Mapping[str, int]] | None = None
) -> tuple[Journey, ...]:
    """The journeys of all IPv4 packets, in order of their first sight; total, whatever is missing.

    Every IPv4 packet is in exactly one journey; of a tunnel's datagrams, what they carry is.
    ``drops``: router -> drop rule -> packets, where it was recorded.  What the capture does
    not hold is left open: a journey begins and ends where it was seen, a sight missing between
    two others is None in its hop, and a packet on its way when the capture ended has no last
    hop.
    """
    lab = Lab(plan)
    seen = [p for p in packets if p.ethertype == _IPV4 and p.destination != NOWHERE]
    seen = [p for p in seen if not lab.carries(p)]
    seen.sort(key=lambda packet: (packet.time_ns, packet.number))
    return tuple(_Stitcher(lab, seen, drops).journeys())


class _Stitcher:
    """The steps between the sights of packets, which are told apart by `id`."""

    def __init__(
        self,
        lab: Lab,
        seen: Sequence[Packet],
        drops: Mapping[str, Mapping[str, int]] | None,
    ) -> None:
        self._lab = lab
        self._until_ns = seen[-1].time_ns if seen else 0
        self._steps = {id(a): b for a, b in (*wires(lab, seen), *transits(lab, seen))}
        reached = {id(packet) for packet in self._steps.values()}
        heads = [p for p in seen if id(p) not in reached]
        stuck = [p for p in seen if id(p) not in self._steps]
        made = [p for p in heads if p.outgoing and p.ttl in _INITIAL_TTLS]
        self._ends = Ends(lab, [p for p in stuck if not p.outgoing], made, drops)
        astray = [p for p in heads if not (self._is_origin(p) or lab.overheard(p))]
        unfinished = [p for p in stuck if p.outgoing or not lab.is_host(p.node)]
        self._gaps = {id(a): b for a, b in gaps(unfinished, astray)} if astray else {}
        resumed = {id(packet) for packet in self._gaps.values()}
        self._heads = [packet for packet in heads if id(packet) not in resumed]

    def journeys(self) -> Iterator[Journey]:
        for head in self._heads:
            yield Journey(tuple(self._hops(head)))

    def _hops(self, head: Packet) -> Iterator[Hop]:
        here: Packet | None = head
        if head.outgoing:
            fate = Fate.SENT if self._is_origin(head) else Fate.FORWARDED
            yield Hop(head.node, fate, outward=head)
            here = yield from self._leave(head)
        while here is not None:
            if onward := self._steps.get(id(here)):
                yield Hop(here.node, _passed(here, onward), here, onward)
                here = yield from self._leave(onward)
            elif later := self._gaps.get(id(here)):
                yield Hop(here.node, _passed(here, later), here)
                here = yield from self._resume(here, later)
            else:
                yield from self._end(here)
                return

    def _end(self, packet: Packet) -> Iterator[Hop]:
        """The last hops of an incoming packet.

        Netem works before the packet is recorded as leaving: what it holds or loses is
        seen going into the node, and never coming out.
        """
        last = self._ends.of(packet)
        lab, port = self._lab, self._lab.egress(packet)
        explained = last.rules or last.answer or lab.overheard(packet)
        unexplained = last.fate in (Fate.DROPPED, Fate.TAKEN) and not explained
        if not unexplained or port is None or port.outward.transparent or packet.ttl <= 1:
            yield last
            return
        held_ms = port.outward.delay_ms + port.outward.jitter_ms
        target = lab.beyond(port)
        if packet.time_ns + held_ms * 1e6 + _LATE_NS > self._until_ns:
            yield Hop(packet.node, Fate.FORWARDED, packet)
        elif target and (port.outward.loss or lab.is_core(packet.node)):
            yield Hop(packet.node, Fate.FORWARDED, packet)
            yield Hop(target.node, Fate.LOST)
        else:
            yield last

    def _leave(self, packet: Packet) -> Generator[Hop, None, Packet | None]:
        """Follow an outgoing packet; gives the next incoming sight of it, if any."""
        if came := self._steps.get(id(packet)):
            return came
        if later := self._gaps.get(id(packet)):
            return (yield from self._resume(packet, later))
        target = self._lab.target(packet)
        if target is not None:
            due_ns = packet.time_ns + self._lab.patience_ns(packet, target) + _LATE_NS
            if due_ns <= self._until_ns:
                yield Hop(target.node, Fate.LOST)
        return None

    def _resume(self, before: Packet, later: Packet) -> Generator[Hop, None, Packet | None]:
        """Go on where a packet is seen again; gives its next incoming sight, if any."""
        if not later.outgoing:
            return later
        # One hop says that it was translated, and that is the first which may have done it.
        told = not before.outgoing or self._lab.is_core(later.node)
        fate = Fate.FORWARDED if told else _passed(before, later)
        yield Hop(later.node, fate, outward=later)
        return (yield from self._leave(later))

    def _is_origin(self, head: Packet) -> bool:
        """False if ``head``, which is seen coming from nowhere, must have been somewhere before."""
        lab = self._lab
        if not head.outgoing or lab.is_host(head.node):
            return head.outgoing
        if id(head) in self._ends.answers:
            return True
        fresh = head.ttl in _INITIAL_TTLS or head.destination.address.is_multicast
        return fresh and lab.owns(head.node, head.source.address)


def _passed(before: Packet, after: Packet) -> Fate:
    same = (before.source, before.destination) == (after.source, after.destination)
    return Fate.FORWARDED if same else Fate.TRANSLATED
