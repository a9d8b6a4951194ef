"""One NAT and one protocol, as the axes look at them."""

from collections.abc import Iterator
from functools import cached_property

from testbed.explain.narrow import narrow, told_too_long
from testbed.explain.scene import Crossing, Scene, outer
from testbed.model.behaviour import Behaviour, Refresh, Transport, WanInput
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Change, Hop, Journey
from testbed.model.packet import FIN, RST, Endpoint, Packet, Protocol
from testbed.model.statement import Statement

Shown = Iterator[tuple[Statement, tuple[Packet, ...]]]  # what it did, and the packets that show it

SETTLED_NS = 1_000_000  # in which a NAT may take up two packets in either order
CLOCK_NS = 1_500_000_000  # by which timers of whole seconds may differ from the wire


class Knock(FrozenValue):
    """A packet from outside that got no further; it would have opened a flow."""

    journey: Journey
    packet: Packet

    @property
    def answer(self) -> Packet | None:
        return self.journey.end.answer


class View:
    """The flows that passed ``router``, and what ended there."""

    def __init__(self, scene: Scene, router: str, protocol: Protocol) -> None:
        self.scene = scene
        self.router = router
        self.protocol = protocol
        self.behaviour: Behaviour = scene.behaviour(router)
        self.axes: Transport = scene.transport(router, protocol)
        self.addresses = frozenset(scene.plan.addresses[router])
        passed = scene.crossings.get(router, ())
        self.crossings = [c for c in passed if c.packet.protocol == protocol]

    @cached_property
    def flows(self) -> list[Crossing]:
        """The first packet of each flow, whoever sent it, in order of time."""
        found: dict[tuple[Endpoint, Endpoint, Endpoint], Crossing] = {}
        for crossing in self.crossings:
            key = (crossing.internal, crossing.external, crossing.remote)
            found.setdefault(key, crossing)
        return list(found.values())

    @cached_property
    def begun(self) -> list[Crossing]:
        """Of the flows those that somebody inside began, and not to the inside."""
        return [c for c in self.flows if c.outbound and not c.hairpin and self._opens(c.packet)]

    def _opens(self, packet: Packet) -> bool:
        return packet.protocol != "tcp" or packet.is_syn

    @cached_property
    def knocks(self) -> list[Knock]:
        """What came from outside to open a flow, and was not let in.

        What has the router's own address for its source is none of it: the kernel believes no
        such packet (RFC 1812 section 5.3.7), before any rule.  A carrier's NAT that hairpins with
        the internal source sends such back to a router that both ends are behind.
        """
        return [
            Knock(journey, journey.end.inward)
            for journey in self.scene.ended(self.router)
            if journey.end.inward
            and outer(journey.end)
            and journey.end.inward.source.address not in self.addresses
            and journey.first.protocol == self.protocol
            and self._opens(journey.end.inward)
            and not self._too_long(journey.end)
        ]

    @cached_property
    def refused(self) -> list[Journey]:
        """What came from inside to open a flow, and was not let out or back in."""
        inside = self.scene.plan.internal.get(self.router)
        return [
            journey
            for journey in self.scene.ended(self.router)
            if journey.end.inward
            and not outer(journey.end)
            and journey.end.inward.destination.address != inside  # the router's own services
            and not journey.end.inward.destination.address.is_multicast
            and journey.first.protocol == self.protocol
            and self._opens(journey.end.inward)
            and not self._too_long(journey.end)
        ]

    def _too_long(self, hop: Hop) -> bool:
        """Refused for its length, which is the link's doing (RFC 1191 section 3), and no rule's.

        Of any link of the router's: one in the LAN is as narrow for what comes from outside.
        """
        packet, longest = hop.inward, narrow(self.scene.plan, self.router)
        return told_too_long(hop) or (
            packet is not None and longest is not None and packet.length > longest
        )

    def planned(self, flow: Crossing) -> bool:
        """The lab's plan has the host that began it, so there is somebody to let packets in to."""
        return flow.internal.address in self.scene.plan.owners

    # -- what may excuse it -----------------------------------------------------

    @property
    def lifetime_ns(self) -> int:
        """How long a mapping lives unused at the least."""
        timeouts = self.behaviour.timeouts
        if self.protocol == "udp":
            return int(min(timeouts.udp, timeouts.udp_stream) * 1e9)
        return int(timeouts.tcp_transitory * 1e9)

    def ended(self, mapping: Crossing, until_ns: int) -> bool:
        """The mapping may be gone by then: unused for its time, closed, or destroyed."""
        last = mapping.time_ns
        both = self.behaviour.refresh is Refresh.BOTH
        for crossing in self.crossings:
            if crossing.time_ns >= until_ns:
                break
            same = (crossing.internal, crossing.external) == (mapping.internal, mapping.external)
            if not same or crossing.time_ns < mapping.time_ns:
                continue
            if crossing.packet.tcp_flags & (RST | FIN) and crossing.remote == mapping.remote:
                return True
            last = crossing.time_ns if crossing.outbound or both else last
        if until_ns - last > self.lifetime_ns - CLOCK_NS:
            return True
        return any(
            flow.change is Change.DESTROY
            and mapping.time_ns < flow.time_ns < until_ns
            and (flow.original[0], flow.reply[1]) == (mapping.internal, mapping.external)
            and flow.original[1] == mapping.remote
            for flow in self.scene.flows(self.router) or ()
        )

    def taken(self, external: Endpoint, remote: Endpoint, before_ns: int) -> bool:
        """The router itself may own the tuple: its input accepts, and a packet had come."""
        if self.behaviour.wan_input is not WanInput.ACCEPT:
            return False
        return any(
            (knock.packet.destination, knock.packet.source) == (external, remote)
            and knock.packet.time_ns < before_ns
            for knock in self.knocks
        )

    def held(self, external: Endpoint, by_other_than: Endpoint, before_ns: int) -> bool:
        """Somebody else inside uses the port."""
        return any(
            crossing.external == external
            and crossing.internal != by_other_than
            and crossing.time_ns < before_ns
            for crossing in self.flows
        )
