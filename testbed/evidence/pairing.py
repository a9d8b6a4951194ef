"""Which of several like packets became which: in order of time, and never crossed.

Pure.  A packet is told from others by what neither a wire nor a NAT alters.  Packets
alike in that, too (Linux gives a SYN-ACK, a RST and many a datagram the IP id 0), are
told apart by when they passed.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from testbed.model.packet import Packet

WINDOW_NS = 1_000_000_000  # the longest that a packet stays inside a router or waits for a line

Key = Callable[[Packet], Hashable]
Pair = tuple[Packet, Packet]


def identity(packet: Packet) -> Hashable:
    """What stays the same from the sender to the receiver: all but addresses, ports and TTL."""
    # A NAT also translates the packet that an ICMP error quotes (RFC 5508 section 4.2).
    quoted = packet.quoted
    payload: Hashable = packet.payload
    if quoted is not None:
        payload = (quoted.protocol, quoted.ip_id, len(packet.payload))
    return (
        packet.protocol,
        packet.ip_id,
        packet.original_length,
        packet.tcp_flags,
        packet.tcp_seq,
        packet.tcp_ack,
        packet.icmp_type,
        packet.icmp_code,
        payload,
    )


def pair(
    befores: Iterable[Packet],
    afters: Iterable[Packet],
    key_before: Key,
    key_after: Key,
    *,
    usual_ns: int = 0,
    window_ns: int = WINDOW_NS,
) -> list[Pair]:
    """Pair each of ``afters`` with the one of ``befores`` that it was; each is in one pair at most.

    Both are in order of time, and only packets of the same key are paired.  Like
    packets are paired in order if as many came out as went in.  If some were lost,
    those are left over without which the delays are nearest to the usual one, which
    is that of the packets with no double, or else ``usual_ns``.
    """
    early, late = _grouped(befores, key_before), _grouped(afters, key_after)
    pairs: list[Pair] = []
    doubtful: list[tuple[list[Packet], list[Packet]]] = []
    for key, arrived in late.items():
        if (sent := early.get(key)) is None:
            continue
        couples = list(zip(sent, arrived, strict=False))
        if len(sent) == len(arrived) and all(_fits(b, a, 0, window_ns) for b, a in couples):
            pairs += couples
        else:
            doubtful.append((sent, arrived))
    least_ns = 0
    if doubtful and pairs:
        delays = [after.time_ns - before.time_ns for before, after in pairs]
        least_ns, usual_ns = min(usual_ns, *delays), int(statistics.median(delays))
    for sent, arrived in doubtful:
        pairs += _by_time(sent, arrived, least_ns, usual_ns, window_ns)
    return pairs


def _grouped(packets: Iterable[Packet], key: Key) -> dict[Hashable, list[Packet]]:
    groups: dict[Hashable, list[Packet]] = defaultdict(list)
    for packet in packets:
        groups[key(packet)].append(packet)
    return groups


def _fits(before: Packet, after: Packet, least_ns: int, window_ns: int) -> bool:
    return least_ns <= after.time_ns - before.time_ns <= window_ns


def _by_time(
    befores: Sequence[Packet],
    afters: Sequence[Packet],
    least_ns: int,
    usual_ns: int,
    window_ns: int,
) -> list[Pair]:
    """Give each of ``afters`` the one of ``befores`` that fits the usual delay best.

    Like packets do not overtake one another, so one pass forward suffices; no more
    are passed over than are too many.
    """
    pairs: list[Pair] = []
    index, spare = 0, len(befores) - len(afters)
    for after in afters:
        while index < len(befores) and after.time_ns - befores[index].time_ns > window_ns:
            index, spare = index + 1, spare - 1
        while (
            spare > 0
            and index + 1 < len(befores)
            and _fits(befores[index + 1], after, least_ns, window_ns)
            and _oddness(befores[index + 1], after, usual_ns)
            <= _oddness(befores[index], after, usual_ns)
        ):
            index, spare = index + 1, spare - 1
        if index < len(befores) and _fits(befores[index], after, least_ns, window_ns):
            pairs.append((befores[index], after))
            index += 1
        else:
            spare += 1
    return pairs


def _oddness(before: Packet, after: Packet, usual_ns: int) -> int:
    return abs(after.time_ns - before.time_ns - usual_ns)
