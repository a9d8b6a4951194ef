"""Whose is a packet, where many pairs of peers meet in one lab?  Pure.

A packet is followed from host to host first; then it is of the pair whose process has the socket
that it left from or came to.  What no socket tells is told by what was translated, relayed or
quoted of a pair's own packets.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import field

from testbed.model.address import Socket
from testbed.model.frozen import FrozenValue
from testbed.model.journey import FlowEvent, Journey
from testbed.model.packet import Endpoint, Packet
from testbed.model.plan import Plan

Place = tuple[str, Endpoint]  # protocol, and the address on the wire
Way = tuple[str, Endpoint, Endpoint]  # protocol, source and destination on a wire
NOBODY: frozenset[int] = frozenset()


class Shares(FrozenValue):
    """The packets of each pair, by its number, in order of time."""

    packets: Mapping[int, Sequence[Packet]]
    ways: Mapping[int, Set[Way]] = field(repr=False)  # that they were seen on

    def flows(self, pair: int, events: Iterable[FlowEvent]) -> tuple[FlowEvent, ...]:
        """Those of ``events`` that are of the packets of ``pair``."""
        ways = self.ways.get(pair, frozenset())
        return tuple(
            event
            for event in events
            if (event.protocol, *event.original) in ways or (event.protocol, *event.reply) in ways
        )


def shares(
    packets: Sequence[Packet],
    journeys: Sequence[Journey],
    plan: Plan,
    sockets: Mapping[Socket, Set[int]],
) -> Shares:
    """Divide the ``packets`` of a lab, which are in ``journeys``, among its pairs.

    ``sockets`` has the numbers of the pairs whose processes had each.  A packet that passed from
    pair to pair is of both.  One of a socket that nobody was seen to have, on a host of peers, may
    be of any pair there, and so is of all of them.  What is of no pair is in no share.
    """
    return _Sharing(plan, sockets).shares(packets, journeys)


class _Sharing:
    """Who is known to have which socket, and which addresses on the wire."""

    def __init__(self, plan: Plan, sockets: Mapping[Socket, Set[int]]) -> None:
        self._plan = plan
        self._sockets = sockets
        self._at: dict[str, set[int]] = defaultdict(set)  # host -> its pairs
        for socket, pairs in sockets.items():
            self._at[socket.node] |= pairs
        self._places: dict[Place, set[int]] = defaultdict(set)
        self._ways: dict[Way, set[int]] = defaultdict(set)

    def shares(self, packets: Sequence[Packet], journeys: Sequence[Journey]) -> Shares:
        owners: dict[int, frozenset[int]] = {}  # by the place in ``journeys``
        for index, journey in enumerate(journeys):
            if pairs := self._by_sockets(journey):
                owners[index] = pairs
                self._learn(journey, pairs)
        for index, journey in enumerate(journeys):
            if index not in owners:
                owners[index] = self._by_traces(journey)
        of: dict[int, frozenset[int]] = {}  # by the packet's number
        for index, journey in enumerate(journeys):
            of.update(dict.fromkeys(journey.packets, owners[index]))
        found: dict[int, list[Packet]] = defaultdict(list)
        ways: dict[int, set[Way]] = defaultdict(set)
        for packet in packets:
            for pair in of.get(packet.number, NOBODY):
                found[pair].append(packet)
                ways[pair].add(_way(packet))
        return Shares(found, ways)

    def _by_sockets(self, journey: Journey) -> frozenset[int]:
        """The pairs whose sockets are at its ends; if nobody was seen to have any, the hosts'."""
        first, last = journey.first, journey.last
        if first.protocol not in ("udp", "tcp"):
            return NOBODY
        ends = [Socket(journey.sender, first.protocol, first.source.port)]
        if journey.arrived:
            ends.append(Socket(journey.end.node, last.protocol, last.destination.port))
        known = frozenset(pair for end in ends for pair in self._sockets.get(end, NOBODY))
        return known or frozenset(pair for end in ends for pair in self._at.get(end.node, NOBODY))

    def _learn(self, journey: Journey, pairs: frozenset[int]) -> None:
        """What its packets show on the way: their addresses are those of the pairs, too."""
        for packet in _sights(journey):
            self._ways[_way(packet)] |= pairs
            for end in (packet.source, packet.destination):
                self._places[packet.protocol, end] |= pairs

    def _by_traces(self, journey: Journey) -> frozenset[int]:
        """An ICMP error is of whom it quotes; else it is told by the addresses of one pair."""
        quoted = journey.first.quoted
        if quoted is not None:
            way = (quoted.protocol, quoted.source, quoted.destination)
            return frozenset(self._ways.get(way, NOBODY))
        return frozenset(
            pair
            for packet in _sights(journey)
            for end in (packet.source, packet.destination)
            if len(pairs := self._places.get((packet.protocol, end), set())) == 1
            for pair in pairs
        )


def _sights(journey: Journey) -> Iterator[Packet]:
    for hop in journey.hops:
        yield from (packet for packet in (hop.inward, hop.outward) if packet is not None)


def _way(packet: Packet) -> Way:
    return packet.protocol, packet.source, packet.destination
