"""Whose packet was first at a NAT, of two peers that punch: each is to let its own out before.

Where DCUtR has both dial at moments that cross, the packets pass each other between the NATs
(libp2p relay/DCUtR.md, and the simultaneous open of RFC 9293 section 3.5).
"""

from collections.abc import Iterable

from testbed.evidence.clocks import STAMPED_NS
from testbed.model.breach import Breach, NotCrossed, NothingLeft
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Journey
from testbed.model.outcome import StepName
from testbed.model.packet import RST, Packet
from testbed.verdict.upgrade_ends import Side, Wire

# After the moment that DCUtR sets, by when a punch that needs no cue has left: less than the way
# between two homes, by which one that waits for the other's packet comes later.
TIMELY_NS = 20_000_000


class Crossing(FrozenValue):
    """What left a peer's outermost router towards the other, and what came in there."""

    side: Side
    other: Side
    router: str | None  # the outermost that the other is not behind
    vantage: str
    out: Packet | None
    entered: Packet | None
    due: int | None  # when the peer had to send; None: it does not tell

    @property
    def in_time(self) -> bool:
        return bool(self.out and self.due is not None and self.out.time_ns <= self.due + TIMELY_NS)

    @property
    def came_first(self) -> bool:
        """The other's packet came in before this peer's had left."""
        into, out = self.entered, self.out
        return bool(self.router and into and out and into.time_ns < out.time_ns)


def crossings(wire: Wire, a: Side, b: Side, since: int) -> list[Crossing]:
    """Of both peers.

    What goes from peer to peer need not leave a NAT that both are behind: it turns back inside.
    Where there is no router that the other is not behind, the peer must have sent, and nothing is
    opened by it.  A RST comes in answer to a packet of one's own, and crosses nothing.
    """
    found = []
    for side, other, due in ((a, b, _due_dialer(a)), (b, a, _due_listener(b))):
        router = next((name for name in side.routers if name not in other.routers), None)
        node = wire.account.plan.topology.node(router or side.node)
        vantage = f"{node.name}:{node.interfaces[0].name}"
        left = (_left_by(router, journey) for journey in wire.sent(side, other))
        out = next((p for p in left if p is not None and p.time_ns >= since), None)
        came = (journey.last for journey in wire.got(side, other))
        entered = next((p for p in came if p.time_ns >= since and not p.tcp_flags & RST), None)
        found.append(Crossing(side, other, router, vantage, out, entered, due))
    return found


def not_crossed(both: Iterable[Crossing]) -> list[Breach]:
    """Each NAT had let its own peer's packet out before the other's came in.

    Where the way between the peers is shorter than half a round trip can be measured to, whose
    packet is first is chance: who sent at the moment that is set for it has crossed the other's.
    """
    found: list[Breach] = []
    for one in both:
        if one.out is None:
            found.append(NothingLeft(one.side.node, one.other.node, one.vantage))
        elif one.entered and one.came_first and not one.in_time:
            found.append(NotCrossed(one.side.node, one.vantage, one.entered.sight, one.out.sight))
    return found


def punched_since(a: Side, b: Side) -> int:
    return min(side.step(StepName.PUNCHING) or 0 for side in (a, b)) - STAMPED_NS


def _due_dialer(a: Side) -> int | None:
    """When DCUtR has A dial: at once when SYNC is there.  None: A does not tell."""
    return a.step(StepName.SYNC_RECEIVED)


def _due_listener(b: Side) -> int | None:
    """When DCUtR has B dial: half a round trip of CONNECT after SYNC.  None: B does not tell."""
    names = (StepName.CONNECT_SENT, StepName.CONNECT_RECEIVED, StepName.SYNC_SENT)
    asked, answered, sync = (b.step(name) for name in names)
    if not (asked and answered and sync):
        return None
    return sync + (answered - asked) // 2


def _left_by(router: str | None, journey: Journey) -> Packet | None:
    """As it left ``router``, or its host where that is None; None: it is not seen there."""
    if router is None:
        return journey.first
    hop = journey.at(router)
    return hop.outward if hop else None
