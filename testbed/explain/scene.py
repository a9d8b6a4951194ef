"""One run as its causes are asked of it: sides, tries, and what every NAT mapped when."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cached_property

from testbed.evidence.account import WireAccount
from testbed.explain.leases import Lease, leases
from testbed.explain.sides import Side
from testbed.explain.whole import Whole
from testbed.model.behaviour import Behaviour, Transport
from testbed.model.behaviour import Protocol as Axis
from testbed.model.contract import Event, Step
from testbed.model.explanation import Evidence
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Fate, FlowEvent, Hop, Journey
from testbed.model.packet import FIN, RST, Endpoint, Packet, Protocol
from testbed.model.plan import LAN
from testbed.model.technique import Relaying


class Crossing(FrozenValue):
    """One packet that a NAT let pass, by the ends of its flow there."""

    router: str
    journey: Journey
    hop: Hop
    outbound: bool
    internal: Endpoint  # the LAN's end, as the LAN sees it
    external: Endpoint  # the same, as the WAN sees it
    remote: Endpoint  # the other end, as the WAN sees it
    hairpin: bool = False

    @property
    def packet(self) -> Packet:
        """As it left the NAT."""
        assert self.hop.outward is not None  # it passed
        return self.hop.outward

    @property
    def packets(self) -> tuple[Packet, ...]:
        return tuple(p for p in (self.hop.inward, self.hop.outward) if p)

    @property
    def time_ns(self) -> int:
        return self.packet.time_ns

    @property
    def preserved(self) -> Endpoint:
        """What the external endpoint is where the port is preserved."""
        return Endpoint(self.external.address, self.internal.port)


class Scene:
    """All that the causes ask of one run.  Pure; nothing in it guesses."""

    def __init__(self, evidence: Evidence, account: WireAccount) -> None:
        self.evidence = evidence
        self.plan = evidence.plan
        self.account = account
        self.journeys = account.journeys
        self.labels = account.labels
        self.dialer, self.listener = self.sides = (
            self._side(evidence.dialer),
            self._side(evidence.listener),
        )
        self.whole = Whole(evidence, self.journeys)

    def _side(self, node: str) -> Side:
        routers = tuple(router.name for router in self.plan.topology.path_out(node))
        own = frozenset(self.plan.addresses[node])
        around = self.plan.topology.around(node)
        outside = {ip for name in around for ip in self.plan.addresses[name]}
        said = tuple(event for name, event in self.evidence.events or () if name == node)
        return Side(node, routers, own, own | outside, said)

    # -- what was said ----------------------------------------------------

    def other(self, side: Side) -> Side:
        return self.listener if side is self.dialer else self.dialer

    def when(self, event: Event) -> int | None:
        """An event in capture time."""
        if isinstance(event, Step):
            return event.realtime
        return None if self.evidence.clock_ns is None else event.at + self.evidence.clock_ns

    @property
    def protocol(self) -> Protocol:
        """Of the connection that the peers want; where none is, by which they asked."""
        wanted = self.evidence.technique.protocol
        asked = (j.first.protocol for side in self.sides for j in self.asked(side))
        return next(asked, "udp") if wanted is None else wanted

    @property
    def circuits(self) -> bool:
        """The peers are connected by a libp2p relay first."""
        return self.evidence.technique.relaying is Relaying.CIRCUIT

    # -- what was sent ----------------------------------------------------

    def sent(self, side: Side) -> Sequence[Journey]:
        """Every datagram and segment of a peer, in order of time."""
        return self.account.sent(side.node)

    def asked(self, side: Side) -> list[Journey]:
        """What it sent to public nodes: to learn its address, to be relayed."""
        near = {*side.own, *self.other(side).own}
        public = {
            address
            for address, node in self.plan.owners.items()
            if address not in near and not self.is_router(node)
        }
        return [
            j
            for j in self.sent(side)
            if j.first.source.address in side.own
            and (j.first.destination.address in public or self._serves(j.first.destination))
        ]

    def _serves(self, endpoint: Endpoint) -> bool:
        """Is it where a node behind a NAT is asked?"""
        public = (self.evidence.server, *self.plan.topology.observers)
        return self.plan.meant(endpoint) in public

    def tries(self, side: Side) -> list[Journey]:
        """What ``side`` sent towards any face of the other peer; bare refusals are none."""
        return self._tries[side.node]

    @cached_property
    def _tries(self) -> dict[str, list[Journey]]:
        return {side.node: self._tries_of(side) for side in self.sides}

    def _tries_of(self, side: Side) -> list[Journey]:
        other = self.other(side)
        return [
            j
            for j in self.sent(side)
            if j.first.destination.address in other.faces
            and not self._serves(j.first.destination)
            and j.first.source.address in side.own
            and not j.first.tcp_flags & RST
        ]

    def to_server(self, journey: Journey) -> bool:
        return self.plan.meant(journey.first.destination) == self.evidence.server

    def from_server(self, journey: Journey) -> bool:
        return journey.sender == self.evidence.server

    def answers(self, side: Side, asked: Sequence[Journey]) -> list[Journey]:
        """What came back to ``side`` from the ports that it asked, in order of time."""
        return [j for j in self._back(side, asked) if not _refuses(j.first)]

    def refusals(self, side: Side, asked: Sequence[Journey]) -> list[Journey]:
        """RSTs, FINs and ICMP errors from there, in order of time."""
        return [j for j in self._back(side, asked) if _refuses(j.first)]

    def _back(self, side: Side, asked: Sequence[Journey]) -> list[Journey]:
        ports = {j.first.destination for j in asked}
        since = min((j.first.time_ns for j in asked), default=0)
        nodes = {self.plan.owners.get(port.address) for port in ports}
        nodes |= {self.plan.meant(port) for port in ports}
        return [
            j
            for j in self.journeys
            if j.sender in nodes
            and j.first.destination.address in side.faces
            and j.first.time_ns > since
            and (_is_from(j.first, ports) or _is_from(j.last, ports))
        ]

    # -- what NATs did ----------------------------------------------------

    @cached_property
    def crossings(self) -> dict[str, list[Crossing]]:
        """Router -> what passed it, in order of time."""
        found: dict[str, list[Crossing]] = defaultdict(list)
        for journey in self.journeys:
            for hop in journey.hops:
                if crossing := self._crossing(journey, hop):
                    found[hop.node].append(crossing)
        for passed in found.values():
            passed.sort(key=lambda crossing: crossing.time_ns)
        return found

    def _crossing(self, journey: Journey, hop: Hop) -> Crossing | None:
        came, left = hop.inward, hop.outward
        if came is None or left is None or hop.node not in self.evidence.behaviours:
            return None
        if came.protocol not in ("udp", "tcp"):
            return None
        if came.interface == left.interface:
            return Crossing(
                hop.node, journey, hop, True, came.source, left.source, came.destination, True
            )
        if came.interface != LAN:
            return Crossing(
                hop.node, journey, hop, False, left.destination, came.destination, came.source
            )
        return Crossing(hop.node, journey, hop, True, came.source, left.source, left.destination)

    def crossing(self, router: str, journey: Journey) -> Crossing | None:
        """How ``journey`` passed ``router``; None if it did not."""
        hop = journey.at(router)
        return None if hop is None else self._crossing(journey, hop)

    def ended(self, router: str) -> list[Journey]:
        """The journeys of datagrams and segments that got no further than ``router``."""
        return self._ended.get(router, [])

    @cached_property
    def _ended(self) -> dict[str, list[Journey]]:
        found: dict[str, list[Journey]] = defaultdict(list)
        for journey in self.journeys:
            if stopped(journey) and journey.first.protocol in ("udp", "tcp"):
                found[journey.end.node].append(journey)
        return found

    def outbound(self, router: str, protocol: Protocol) -> list[Crossing]:
        """What passed ``router`` from inside; the same list each time."""
        return self._outbound.get((router, protocol), [])

    @cached_property
    def _outbound(self) -> dict[tuple[str, Protocol], list[Crossing]]:
        found: dict[tuple[str, Protocol], list[Crossing]] = defaultdict(list)
        for router, passed in self.crossings.items():
            for crossing in passed:
                if crossing.outbound:
                    found[router, crossing.packet.protocol].append(crossing)
        return found

    def is_router(self, node: str) -> bool:
        return node in self.evidence.behaviours

    def behaviour(self, router: str) -> Behaviour:
        return self.evidence.behaviours[router]

    def transport(self, router: str, protocol: Protocol) -> Transport:
        return self.behaviour(router).transport(Axis.TCP if protocol == "tcp" else Axis.UDP)

    @cached_property
    def leases(self) -> tuple[Lease, ...]:
        """Ports that routers gave to who asked, in order of time."""
        return leases(self.journeys, self.labels, self.evidence.behaviours)

    def leased(self, router: str, port: int, time_ns: int) -> Lease | None:
        """The last lease of an external port that was given before a moment."""
        given = [
            lease
            for lease in self.leases
            if (lease.router, lease.external_port) == (router, port)
            and lease.packet.time_ns < time_ns
        ]
        return given[-1] if given else None

    def flows(self, router: str) -> list[FlowEvent] | None:
        """What the router's conntrack told, in order; None: it was not recorded."""
        if self.evidence.flows is None:
            return None
        return [flow for flow in self.evidence.flows if flow.node == router]

    # -- time -------------------------------------------------------------

    @cached_property
    def zero_ns(self) -> int:
        """The common start, or the first packet where there was none."""
        if self.evidence.start_ns is not None:
            return self.evidence.start_ns
        return self.journeys[0].first.time_ns if self.journeys else 0

    def ms(self, moment: Packet | int) -> float:
        """Milliseconds from the start to a moment."""
        time_ns = moment if isinstance(moment, int) else moment.time_ns
        return (time_ns - self.zero_ns) / 1e6


def _is_from(packet: Packet, ports: Collection[Endpoint]) -> bool:
    """It, or what it is an answer to."""
    return packet.source in ports or bool(packet.quoted and packet.quoted.destination in ports)


def _refuses(packet: Packet) -> bool:
    return bool(packet.tcp_flags & (RST | FIN)) or packet.quoted is not None


def outer(hop: Hop) -> bool:
    """It came to the router from outside."""
    return hop.inward is not None and hop.inward.interface != LAN


def stopped(journey: Journey) -> bool:
    """It came to a node, and got no further there."""
    return journey.end.fate in (Fate.DROPPED, Fate.REJECTED, Fate.TAKEN)
