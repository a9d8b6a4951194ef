"""What became of a packet at the last node that saw it: arrived, taken, rejected or dropped."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence

from testbed.capture.packet import ACK, FIN, RST, SYN, Packet
from testbed.explain.model import Fate, Hop
from testbed.explain.way import Lab
from testbed.explain.way_rules import Rules

_UNREACHABLE = 3  # ICMP, RFC 792


class Ends:
    """The last hops of ``stuck``, incoming packets that went nowhere from there.

    ``made`` are the packets that begin at a node: among them are its answers.
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
        self._answers = _answers(
            [p for p in stuck if not lab.is_host(p.node)],
            [p for p in made if not lab.is_host(p.node)],
        )

    def of(self, packet: Packet) -> Hop:
        """The hop at which ``packet`` was seen last."""
        lab, node = self._lab, packet.node
        own = lab.owns(node, packet.destination.address)
        if lab.overheard(packet):
            return Hop(node, Fate.DROPPED, packet)
        if lab.is_host(node):
            return Hop(node, Fate.ARRIVED if own else Fate.DROPPED, packet)
        answer = self._answers.get(id(packet))
        rules = () if lab.is_core(node) else self._rules.candidates(packet)
        if answer is not None:
            expired = answer.icmp_type not in (None, _UNREACHABLE)
            fate = Fate.DROPPED if expired else Fate.REJECTED
            return Hop(node, fate, packet, rules=() if expired else rules, answer=answer)
        if own and not rules:
            return Hop(node, Fate.TAKEN, packet)
        return Hop(node, Fate.DROPPED, packet, rules=rules)


def _answers(stuck: Iterable[Packet], made: Iterable[Packet]) -> dict[int, Packet]:
    """The RST or ICMP error that a router made of each packet, by the packet's `id`."""
    waiting: dict[Hashable, list[Packet]] = defaultdict(list)
    for packet in made:
        key = _about(packet)
        if key is not None:
            waiting[packet.node, key].append(packet)
    found: dict[int, Packet] = {}
    for answers in waiting.values():
        answers.reverse()  # the earliest is popped first
    for packet in stuck:
        for key in _possible(packet):
            answers = waiting.get((packet.node, key), [])
            while answers and answers[-1].time_ns < packet.time_ns:
                answers.pop()
            if answers:
                found[id(packet)] = answers.pop()
                break
    return found


def _about(answer: Packet) -> Hashable:
    """What an answer says of the packet that it answers; None if it is no answer."""
    if quoted := answer.quoted:
        return quoted.protocol, quoted.source, quoted.destination, quoted.ip_id
    if answer.tcp_flags & RST:
        number = answer.tcp_ack if answer.tcp_flags & ACK else answer.tcp_seq
        return "reset", answer.destination, answer.source, bool(answer.tcp_flags & ACK), number
    return None


def _possible(packet: Packet) -> Iterable[Hashable]:
    """The same of a packet, for each kind of answer that it may get (RFC 9293 section 3.10.7.1)."""
    yield packet.protocol, packet.source, packet.destination, packet.ip_id
    if packet.protocol != "tcp":
        return
    ends = ("reset", packet.source, packet.destination)
    if packet.tcp_flags & ACK:
        yield *ends, False, packet.tcp_ack
    else:
        length = len(packet.payload) + bool(packet.tcp_flags & SYN) + bool(packet.tcp_flags & FIN)
        yield *ends, True, (packet.tcp_seq + length) & 0xFFFFFFFF
