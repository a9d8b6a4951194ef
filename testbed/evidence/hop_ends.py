"""What became of a packet at the last node that saw it: arrived, taken, rejected or dropped."""

from collections.abc import Hashable, Mapping, Sequence

from testbed.evidence.hop_rules import Rules
from testbed.evidence.hops import Lab
from testbed.evidence.pairing import Pair, pair
from testbed.model.journey import Fate, Hop
from testbed.model.packet import ACK, FIN, RST, SYN, Packet
from testbed.model.plan import LAN

_EXPIRED = 11  # ICMP time exceeded, RFC 792


class Ends:
    """The last hops of ``stuck``, incoming packets that nothing more is seen of.

    ``made`` are the outgoing packets that were seen coming from nowhere: among them
    are the routers' answers.
    """

    def __init__(
        self,
        lab: Lab,
        stuck: Sequence[Packet],
        made: Sequence[Packet],
        drops: Mapping[str, Mapping[str, int]] | None,
    ) -> None:
        self._lab = lab
        self._rules = Rules(lab, drops)
        found = _answers(
            [p for p in stuck if not lab.is_host(p.node)],
            [p for p in made if not lab.is_host(p.node)],
        )
        self._answers = {id(packet): answer for packet, answer in found}
        self.answers = frozenset(id(answer) for _, answer in found)

    def of(self, packet: Packet) -> Hop:
        """The hop at which ``packet`` was seen last."""
        lab, node = self._lab, packet.node
        own = lab.owns(node, packet.destination.address)
        if lab.overheard(packet):
            return Hop(node, Fate.DROPPED, packet)
        if lab.is_host(node):
            return Hop(node, Fate.ARRIVED if own else Fate.DROPPED, packet)
        answer = self._answers.get(id(packet))
        if answer is not None and answer.icmp_type == _EXPIRED:
            return Hop(node, Fate.DROPPED, packet, answer=answer)
        rules = self._rules.candidates(packet)
        if answer is not None:
            return Hop(node, Fate.REJECTED, packet, rules=rules, answer=answer)
        # Every router's rules keep its LAN from its outside address: no rule met this, so
        # conntrack refused it (two hairpinned SYNs that cross want the same tuples).
        around = packet.interface == LAN and not self._is_internal(packet)
        if own and not rules and not around:
            return Hop(node, Fate.TAKEN, packet)
        return Hop(node, Fate.DROPPED, packet, rules=rules)

    def _is_internal(self, packet: Packet) -> bool:
        return self._lab.plan.internal.get(packet.node) == packet.destination.address


def _answers(stuck: Sequence[Packet], made: Sequence[Packet]) -> list[Pair]:
    """Packets with the ICMP error or RST that their router made of them."""
    errors = [packet for packet in made if packet.quoted]
    found = pair(stuck, errors, _as_quoted, _quotation)
    answered = {id(packet) for packet, _ in found}
    segments = [p for p in stuck if p.protocol == "tcp" and id(p) not in answered]
    resets = [packet for packet in made if packet.tcp_flags & RST]
    return found + pair(segments, resets, _as_reset, _reset)


def _as_quoted(packet: Packet) -> Hashable:
    return packet.node, packet.protocol, packet.source, packet.destination, packet.ip_id


def _quotation(error: Packet) -> Hashable:
    quoted = error.quoted
    assert quoted is not None  # by the choice of the caller
    return error.node, quoted.protocol, quoted.source, quoted.destination, quoted.ip_id


def _as_reset(packet: Packet) -> Hashable:
    """The reset that a segment gets where no connection is (RFC 9293 section 3.10.7.1)."""
    ends = packet.node, packet.source, packet.destination
    if packet.tcp_flags & ACK:
        return *ends, False, packet.tcp_ack
    length = len(packet.payload) + bool(packet.tcp_flags & SYN) + bool(packet.tcp_flags & FIN)
    return *ends, True, (packet.tcp_seq + length) & 0xFFFFFFFF


def _reset(packet: Packet) -> Hashable:
    acknowledges = bool(packet.tcp_flags & ACK)
    number = packet.tcp_ack if acknowledges else packet.tcp_seq
    return packet.node, packet.destination, packet.source, acknowledges, number
