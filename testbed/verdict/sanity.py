"""Did the experiment take place as it was meant to?  Asked of the wire, not of the harness.

A peer that never sent, a link that did not delay, a connection that nobody admits:
each would make a cell look as predicted for the wrong reason.
"""

from collections.abc import Iterable, Mapping, Sequence

from testbed.evidence.account import WireAccount
from testbed.model.breach import Belated, NeverSent
from testbed.model.contract import Step
from testbed.model.fault import Late, Tardy, Undelayed, WayUnseen
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Journey
from testbed.model.judgement import WireReading
from testbed.model.outcome import StepName
from testbed.model.packet import ACK, RST, SYN, Packet
from testbed.model.path import Unfollowed
from testbed.model.punctuality import Punctuality
from testbed.model.topology import Topology
from testbed.verdict.steps import leading_step

_CONNECT = (StepName.CONNECT_SENT, StepName.CONNECT_RECEIVED)
# A capture's clock is exact; delays are made by timers that never fire early.
SHORTEST = 0.9  # of the planned round trip


def never_sent(account: WireAccount, senders: Sequence[str], server: str) -> list[NeverSent]:
    """Those of ``senders`` that made no attempt.

    After the common start a packet to somebody else than the server is an attempt.  Where
    the attempt ended while gathering, any packet is one.  CONNECT of DCUtR goes by way of the
    server: who was told no address in it that it may dial has tried.
    """
    start_ns = account.start_ns
    signalled = {
        node
        for node, event in account.events or ()
        if isinstance(event, Step) and event.name in _CONNECT
    }
    found = []
    for node in senders:
        if node in signalled:
            continue
        sent = (
            journey
            for journey in account.sent(node)
            if start_ns is None
            or (journey.first.time_ns >= start_ns and not _is_for(account, server, journey))
        )
        if next(sent, None) is None:
            found.append(NeverSent(node))
    return found


def seen_inside(account: WireAccount, node: str, server: str) -> bool:
    """Whether public nodes saw ``node`` by an address inside alone, and so cannot tell it another.

    The NAT that it shares with one of them leads its packets back with their source as it was.
    """
    asked = {server, *account.plan.topology.observers}
    came = {j.last.source.address for j in account.sent(node) if j.arrived and j.end.node in asked}
    inside = {one for one in account.plan.addresses[node] if not one.is_global}
    return bool(came) and came <= inside


def _is_for(account: WireAccount, server: str, journey: Journey) -> bool:
    """Is it meant for ``server``?  Which is known by its arrival, where that is behind a NAT."""
    named = account.plan.meant(journey.first.destination) == server
    return named or (journey.arrived and journey.end.node == server)


def unseen_ways(reading: WireReading) -> list[WayUnseen]:
    """The way on which bytes arrived without being seen to go: the evidence is not whole."""
    path = reading.path
    return [WayUnseen(path.source, path.target)] if isinstance(path, Unfollowed) else []


def undelayed(account: WireAccount, hosts: Sequence[str], server: str) -> list[Undelayed]:
    """Round trips to the server that were shorter than the links' planned delays."""
    return [
        Undelayed(host, server, measured_ms, planned_ms)
        for host in hosts
        for asked in _first_asked(account, host, server)
        for planned_ms in [_round_trip_ms(account.plan.topology, host, server, asked.interface)]
        if (measured_ms := _answered_after_ms(account, asked, server)) is not None
        and measured_ms < SHORTEST * planned_ms
    ]


def _first_asked(account: WireAccount, host: str, server: str) -> Iterable[Packet]:
    """What went first to the server by each interface of ``host``."""
    sent = (j.first for j in account.sent(host) if _is_for(account, server, j))
    found: dict[str, Packet] = {}
    for packet in sent:
        found.setdefault(packet.interface, packet)
    return found.values()


def _round_trip_ms(
    topology: Topology, host: str, server: str, interface: str | None = None
) -> float:
    """By an interface; None: the preferred one.

    A router that both are behind is not left by what they send each other.
    """
    near, far = topology.host(host).interfaces, topology.host(server).interfaces[0]
    by = next((one for one in near if one.name == interface), near[0])
    links = [topology.wire(host, by), topology.wire(server, far)]
    here, there = topology.path_out(host, by), topology.path_out(server, far)
    links += [
        router.interfaces[0].link
        for router in (*here, *there)
        if (router in here) != (router in there)
    ]
    regions = topology.regions.round_trip_ms(topology.region(host, by), topology.region(server))
    return regions + sum(
        impairment.delay_ms - impairment.jitter_ms
        for link in links
        for impairment in (link.up, link.down)
    )


def _answered_after_ms(account: WireAccount, asked: Packet, server: str) -> float | None:
    answers = (
        j.last.time_ns
        for j in account.came(asked.node)
        if _is_from(account, server, j)
        and j.last.interface == asked.interface
        and j.last.time_ns > asked.time_ns
    )
    answer = next(answers, None)
    return (answer - asked.time_ns) / 1e6 if answer else None


def _is_from(account: WireAccount, server: str, journey: Journey) -> bool:
    named = account.plan.meant(journey.last.source) == server
    return named or journey.sender == server


def crossed(account: WireAccount, one: str, other: str) -> tuple[int, int] | None:
    """The first packets that crossed between two peers, one each way.

    None if there are not both.  Whoever's probe arrives is answered, so one way alone is
    what a filter leaves of a failed attempt; both ways are a connection.
    """
    if account.start_ns is None:
        return None
    there = _first_crossing(account, one, other, account.start_ns)
    back = _first_crossing(account, other, one, account.start_ns)
    return (there, back) if there is not None and back is not None else None


def _first_crossing(account: WireAccount, source: str, target: str, start_ns: int) -> int | None:
    """The number of the first packet of ``source`` that came to ``target`` and says something."""
    came = (
        journey.last.number
        for journey in account.came(target)
        if journey.sender == source
        and journey.last.time_ns >= start_ns
        and _says_something(journey.last)
    )
    return next(came, None)


def _says_something(packet: Packet) -> bool:
    """A datagram, or a segment of an established connection."""
    if packet.protocol == "udp":
        return True
    return packet.protocol == "tcp" and packet.tcp_flags & (SYN | RST | ACK) == ACK


class Start(FrozenValue):
    """When a peer was to start, and when it is known to send its first packet by then, in ns."""

    since_ns: float
    due_ns: float


class Lateness(FrozenValue):
    """``what`` of ``node`` was so many ms late.  By the machine's doing, or by the peer's own?"""

    what: Tardy
    node: str
    ms: float
    of_machine: bool

    @property
    def fault(self) -> Late:
        return Late(self.what, self.node, self.ms)

    @property
    def breach(self) -> Belated:
        return Belated(self.what, self.node, self.ms)


def late_starts(
    account: WireAccount, starts: Mapping[str, Start], server: str, punctuality: Punctuality
) -> list[Lateness]:
    """By how many ms each peer sent its first packet to others than ``server`` after it was due.

    Did both really start together?  Who sends none was late until the harness looked for the
    last time, if that was the machine's doing; and is judged elsewhere if it was not.
    """
    late = []
    for node, start in starts.items():
        sent = (
            journey.first.time_ns
            for journey in account.sent(node)
            if journey.first.time_ns >= start.since_ns and not _is_for(account, server, journey)
        )
        first = next(sent, None)
        until = first or punctuality.end_ns
        if until is not None and until > start.due_ns:
            one = _lateness(Tardy.START, node, (start.due_ns, until), punctuality)
            late += [one] if first or one.of_machine else []
    return late


def _lateness(
    what: Tardy, node: str, between: tuple[float, float], punctuality: Punctuality
) -> Lateness:
    """Of what was due at the first of two instants, and came at the second.

    It is the machine's doing where that can have kept the peer from running for most of the time.
    """
    ms = (between[1] - between[0]) / 1e6
    return Lateness(what, node, ms, 2 * punctuality.held_up_ms(node, *between) >= ms)


def late_punches(
    account: WireAccount, one: str, other: str, punctuality: Punctuality
) -> list[Lateness]:
    """By how many ms each peer's punch left after the peer had decided on it.

    A peer that never punched is left out.
    """
    late, plan = [], account.plan
    for node, target in ((one, other), (other, one)):
        told = [event for name, event in account.events or () if name == node]
        decided = leading_step(told, StepName.PUNCHING)
        if decided is None:
            continue
        nodes = plan.topology.around(target)
        sent = (
            journey.first.time_ns
            for journey in account.sent(node)
            if journey.first.time_ns >= decided.realtime
            and plan.owners.get(journey.first.destination.address) in nodes
        )
        first = next(sent, None)
        if first is not None:
            between = (decided.realtime, first)
            late.append(_lateness(Tardy.PUNCH, node, between, punctuality))
    return late
