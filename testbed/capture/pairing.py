"""Which packet became which: before and after a NAT, and across a whole lab.

Pure functions over packets.  A router keeps the IP id, the TCP numbers and the
payload, lowers the TTL by one, and rewrites the source of what goes out and the
destination of what comes in; so the rest identifies a packet.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from testbed.capture.packet import Packet, Protocol

WINDOW_NS = 1_000_000_000  # the longest that a packet may stay inside a router

_Key = Callable[[Packet], Hashable]


@dataclass(frozen=True, slots=True)
class Translation:
    """One packet on both sides of a NAT.  ``hairpin``: it came from inside and went inside."""

    before: Packet
    after: Packet
    outbound: bool
    hairpin: bool = False

    @property
    def changed(self) -> bool:
        """True when an endpoint was rewritten, not merely forwarded."""
        ends = (self.before.source, self.before.destination)
        return ends != (self.after.source, self.after.destination)


@dataclass(frozen=True)
class Pairing:
    """What one NAT did with its packets, each list in order of time.

    ``unpaired`` has what it did not let through (incoming) and what it sent of
    its own (outgoing).
    """

    translations: tuple[Translation, ...]
    unpaired: tuple[Packet, ...]


def pair(
    packets: Iterable[Packet],
    node: str,
    inside: str = "lan",
    outside: str = "wan",
    window_ns: int = WINDOW_NS,
) -> Pairing:
    """Pair the IPv4 packets of ``node`` before and after it; each is in one pair at most.

    Identical packets (a retransmission, a repeated punch) are paired in order if
    as many came out as went in; otherwise each ``after`` gets the ``before`` whose
    delay is nearest to the router's usual one.
    """
    here = [p for p in packets if p.node == node and p.ttl and p.interface in (inside, outside)]
    here.sort(key=lambda packet: packet.time_ns)
    pool = {
        (interface, outgoing): [
            p for p in here if p.interface == interface and p.outgoing is outgoing
        ]
        for interface in {inside, outside}
        for outgoing in (False, True)
    }
    found: list[Translation] = []
    # The far end's address first, then without it: a broken NAT rewrites both.
    for far_end in (_destination, None), (_source, None):
        outbound = far_end[0] is _destination
        into, out = (inside, outside) if outbound else (outside, inside)
        for key in far_end:
            for before, after in _match(pool[into, False], pool[out, True], key, window_ns):
                found.append(Translation(before, after, outbound))
    for before, after in _match(pool[inside, False], pool[inside, True], None, window_ns):
        found.append(Translation(before, after, outbound=True, hairpin=True))
    found.sort(key=lambda translation: translation.after.time_ns)
    left = sorted((p for rest in pool.values() for p in rest), key=lambda packet: packet.time_ns)
    return Pairing(tuple(found), tuple(left))


def translations(
    packets: Iterable[Packet], node: str, inside: str = "lan", outside: str = "wan"
) -> list[Translation]:
    """The pairs alone, as `pair` finds them."""
    return list(pair(packets, node, inside, outside).translations)


def unpaired(
    packets: Iterable[Packet], node: str, inside: str = "lan", outside: str = "wan"
) -> list[Packet]:
    """The packets that `pair` finds no partner for."""
    return list(pair(packets, node, inside, outside).unpaired)


def _source(packet: Packet) -> Hashable:
    return packet.source


def _destination(packet: Packet) -> Hashable:
    return packet.destination


def _identity(packet: Packet) -> Hashable:
    """What a router leaves alone, the TTL as it is on leaving."""
    ttl = packet.ttl if packet.outgoing else packet.ttl - 1
    # A NAT also translates the packet that an ICMP error quotes (RFC 5508 section 4.2).
    payload = packet.payload if packet.quoted is None else len(packet.payload)
    tcp = (packet.tcp_flags, packet.tcp_seq, packet.tcp_ack)
    icmp = (packet.icmp_type, packet.icmp_code)
    return packet.protocol, packet.ip_id, ttl, tcp, icmp, payload


def _match(
    befores: list[Packet], afters: list[Packet], far_end: _Key | None, window_ns: int
) -> list[tuple[Packet, Packet]]:
    """Pair what agrees in identity and far end, and take it out of both lists."""

    def grouped(packets: list[Packet]) -> dict[Hashable, list[Packet]]:
        groups: dict[Hashable, list[Packet]] = defaultdict(list)
        for packet in packets:
            groups[_identity(packet), far_end(packet) if far_end else None].append(packet)
        return groups

    groups = grouped(befores)
    candidates = [(groups[key], found) for key, found in grouped(afters).items() if key in groups]
    pairs: list[tuple[Packet, Packet]] = []
    # Groups that nothing was lost from come first: they show the router's usual delay.
    unequal: list[tuple[list[Packet], list[Packet]]] = []
    for early, late in candidates:
        couples = list(zip(early, late, strict=False))
        whole = len(early) == len(late) and all(_fits(b, a, window_ns) for b, a in couples)
        if whole:
            pairs += couples
        else:
            unequal.append((early, late))
    usual = int(statistics.median(a.time_ns - b.time_ns for b, a in pairs)) if pairs else 0
    for early, late in unequal:
        pairs += _by_time(early, late, usual, window_ns)
    taken = {id(packet) for couple in pairs for packet in couple}
    befores[:] = [packet for packet in befores if id(packet) not in taken]
    afters[:] = [packet for packet in afters if id(packet) not in taken]
    return pairs


def _fits(before: Packet, after: Packet, window_ns: int) -> bool:
    return 0 <= after.time_ns - before.time_ns <= window_ns


def _by_time(
    befores: Sequence[Packet], afters: Sequence[Packet], usual_ns: int, window_ns: int
) -> list[tuple[Packet, Packet]]:
    """Give each of ``afters`` the one of ``befores`` that fits the usual delay best.

    Identical packets do not overtake one another, so one pass forward suffices.
    """
    pairs: list[tuple[Packet, Packet]] = []
    index = 0
    for after in afters:
        expected = after.time_ns - usual_ns
        while index + 1 < len(befores) and (
            befores[index + 1].time_ns <= after.time_ns
            and abs(befores[index + 1].time_ns - expected) <= abs(befores[index].time_ns - expected)
        ):
            index += 1
        if index < len(befores) and _fits(befores[index], after, window_ns):
            pairs.append((befores[index], after))
            index += 1
    return pairs


@dataclass(frozen=True, slots=True)
class Sightings:
    """One transport payload, and every packet that carried it, in order of time."""

    protocol: Protocol
    payload: bytes
    packets: tuple[Packet, ...]

    @property
    def vantages(self) -> tuple[str, ...]:
        """Where it was seen, in order of first sight."""
        return tuple(dict.fromkeys(packet.vantage for packet in self.packets))

    @property
    def nodes(self) -> tuple[str, ...]:
        """Which nodes it passed, in order of first sight."""
        return tuple(dict.fromkeys(packet.node for packet in self.packets))


def same_payload(packets: Iterable[Packet], minimum: int = 16) -> list[Sightings]:
    """Group UDP and TCP packets by payloads of ``minimum`` bytes and more, first seen first.

    Packets whose end was not recorded are left out: what is missing might differ.
    """
    groups: dict[tuple[Protocol, bytes], list[Packet]] = defaultdict(list)
    for packet in sorted(packets, key=lambda packet: packet.time_ns):
        carries = packet.protocol in ("udp", "tcp") and len(packet.payload) >= minimum
        if carries and not packet.cut:
            groups[packet.protocol, packet.payload].append(packet)
    return [Sightings(protocol, payload, tuple(g)) for (protocol, payload), g in groups.items()]
