"""Did the experiment take place as it was meant to?  Asked of the wire, not of the harness.

A peer that never sent, a link that did not delay, a connection that nobody admits:
each would make a cell look as predicted for the wrong reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testbed.evidence.account import WireAccount
from testbed.model.explanation import Journey
from testbed.model.fault import Late, NeverSent, Tardy, Undelayed, WayUnseen
from testbed.model.judgement import WireReading
from testbed.model.outcome import StepName
from testbed.model.packet import ACK, RST, SYN, Packet
from testbed.model.path import Unfollowed
from testbed.model.topology import Topology
from testbed.verdict.steps import leading_step

# A capture's clock is exact; delays are made by timers that never fire early.
SHORTEST = 0.9  # of the planned round trip


def never_sent(account: WireAccount, senders: Sequence[str], server: str) -> list[NeverSent]:
    """Those of ``senders`` that made no attempt.

    After the common start a packet to somebody else than the server is an attempt.  Where
    the attempt ended while gathering, any packet is one.
    """
    start_ns = account.start_ns
    found = []
    for node in senders:
        sent = (
            journey
            for journey in account.sent(node)
            if start_ns is None
            or (journey.first.time_ns >= start_ns and not _is_for(account, server, journey))
        )
        if next(sent, None) is None:
            found.append(NeverSent(node))
    return found


def _is_for(account: WireAccount, server: str, journey: Journey) -> bool:
    """Is it meant for ``server``?  Which is known by its arrival, where that is behind a NAT."""
    named = journey.first.destination.address in account.plan.addresses[server]
    return named or (journey.arrived and journey.end.node == server)


def unseen_ways(reading: WireReading) -> list[WayUnseen]:
    """The way on which bytes arrived without being seen to go: the evidence is not whole."""
    path = reading.path
    return [WayUnseen(path.source, path.target)] if isinstance(path, Unfollowed) else []


def undelayed(account: WireAccount, hosts: Sequence[str], server: str) -> list[Undelayed]:
    """Round trips to the server that were shorter than the links' planned delays."""
    found = []
    for host in hosts:
        planned_ms = _round_trip_ms(account.plan.topology, host, server)
        measured_ms = _first_round_trip_ms(account, host, server)
        if measured_ms is not None and measured_ms < SHORTEST * planned_ms:
            found.append(Undelayed(host, server, measured_ms, planned_ms))
    return found


def _round_trip_ms(topology: Topology, host: str, server: str) -> float:
    """A router that both are behind is not left by what goes from one to the other."""
    links = [topology.host(host).link, topology.host(server).link]
    here, there = (topology.path_out(node) for node in (host, server))
    links += [router.link for router in (*here, *there) if (router in here) != (router in there)]
    regions = topology.regions.round_trip_ms(topology.region(host), topology.region(server))
    return regions + sum(
        impairment.delay_ms - impairment.jitter_ms
        for link in links
        for impairment in (link.up, link.down)
    )


def _first_round_trip_ms(account: WireAccount, host: str, server: str) -> float | None:
    sent = (j.first for j in account.sent(host) if _is_for(account, server, j))
    asked = next(sent, None)
    if asked is None:
        return None
    answers = (
        j.last.time_ns
        for j in account.came(host)
        if _is_from(account, server, j) and j.last.time_ns > asked.time_ns
    )
    answer = next(answers, None)
    return (answer - asked.time_ns) / 1e6 if answer else None


def _is_from(account: WireAccount, server: str, journey: Journey) -> bool:
    named = journey.last.source.address in account.plan.addresses[server]
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


@dataclass(frozen=True)
class Start:
    """When a peer was to start, and when it is known to send its first packet by then, in ns."""

    since_ns: float
    due_ns: float


def late_starts(account: WireAccount, starts: Mapping[str, Start], server: str) -> list[Late]:
    """By how many ms each peer sent its first packet to others than ``server`` after it was due.

    Did both really start together?  Who sends none is judged elsewhere.
    """
    late = []
    for node, start in starts.items():
        sent = (
            journey.first
            for journey in account.sent(node)
            if journey.first.time_ns >= start.since_ns and not _is_for(account, server, journey)
        )
        if (first := next(sent, None)) is not None:
            ms = max(0.0, first.time_ns - start.due_ns) / 1e6
            late.append(Late(Tardy.START, node, ms))
    return late


def late_punches(account: WireAccount, one: str, other: str) -> list[Late]:
    """By how many ms each peer's punch left after the peer had decided on it.

    A process that waits for a processor in between does not follow the protocol's
    times, and is not to blame.  A peer that never punched is left out.
    """
    late, plan = [], account.plan
    for node, target in ((one, other), (other, one)):
        told = [event for name, event in account.events or () if name == node]
        decided = leading_step(told, StepName.PUNCHING)
        if decided is None:
            continue
        nodes = {target, *(router.name for router in plan.topology.path_out(target))}
        sent = (
            journey.first.time_ns
            for journey in account.sent(node)
            if journey.first.time_ns >= decided.realtime
            and plan.owners.get(journey.first.destination.address) in nodes
        )
        first = next(sent, None)
        if first is not None:
            late.append(Late(Tardy.PUNCH, node, (first - decided.realtime) / 1e6))
    return late
