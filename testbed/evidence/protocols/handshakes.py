"""TCP handshakes, and simultaneous opens above all (RFC 9293 section 3.5, figure 8)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from testbed.evidence.protocols.notes import Labels, noted
from testbed.model.journey import Journey, Label
from testbed.model.packet import ACK, FIN, RST, SYN, Endpoint

_Ends = tuple[Endpoint, Endpoint]


class _Syn(NamedTuple):
    journey: Journey
    start_ns: int
    end_ns: int


def handshakes(journeys: Sequence[Journey], read: Mapping[int, Label]) -> Labels:
    """The labels of SYNs that cross, of a simultaneous open's SYN-ACKs, of the last ACKs."""
    changed: Labels = {}
    for one, other in _crossings(journeys).items():
        changed[one] = noted(read[one], f"crosses #{other}", ("crosses", f"#{other}"))
    opened: dict[object, int] = {}  # a SYN's sender, ends and sequence number
    offered: dict[object, int] = {}  # SYN-ACKs that came, by what acknowledges them
    for journey in journeys:
        packet, last = journey.first, journey.last
        here = (packet.source, packet.destination)
        flags = packet.tcp_flags
        if packet.protocol != "tcp" or flags & RST:
            continue
        if packet.is_syn:
            opened[journey.sender, here, packet.tcp_seq] = packet.number
        elif flags & SYN:
            offered[last.source, last.destination, (packet.tcp_seq + 1) % 2**32] = packet.number
            syn = opened.get((journey.sender, here, packet.tcp_seq))
            if syn is not None:
                # Only a host that had sent a SYN itself acknowledges with that SYN's number.
                text, field = f"simultaneous open after #{syn}", ("opened by", f"#{syn}")
                changed[packet.number] = noted(read[packet.number], text, field)
        elif flags & ACK and not flags & FIN and not packet.payload:
            key = (packet.destination, packet.source, packet.tcp_ack)
            number = offered.pop(key, None)
            if number is not None:
                acknowledged = read[packet.number]
                fields = (*acknowledged.fields, ("acknowledges", f"#{number}"))
                changed[packet.number] = Label("tcp", f"ACK of #{number}", fields)
    return changed


def _crossings(journeys: Sequence[Journey]) -> dict[int, int]:
    """SYNs under way at the same time between the same ends, in opposite directions.

    A NAT may have the private end on one side: so the ends are compared at every place.
    """
    under_way: dict[_Ends, list[_Syn]] = defaultdict(list)
    found: dict[int, int] = {}
    for journey in journeys:
        if not journey.first.is_syn:
            continue
        syn = _Syn(journey, journey.first.time_ns, journey.last.time_ns)
        places = {
            (p.source, p.destination)
            for hop in journey.hops
            for p in (hop.inward, hop.outward)
            if p
        }
        for source, destination in places:
            for met in under_way.get((destination, source), []):
                if met.end_ns >= syn.start_ns:
                    found.setdefault(met.journey.first.number, journey.first.number)
                    found[journey.first.number] = met.journey.first.number
        for place in places:
            still = [s for s in under_way[place] if s.end_ns >= syn.start_ns]
            under_way[place] = [*still[-8:], syn]  # bounded: a SYN flood is no handshake
    return found
