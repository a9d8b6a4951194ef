"""Did the experiment take place as it was meant to?  Asked of the wire, not of the harness.

A peer that never sent, a link that did not delay, a connection that nobody admits:
each would make a cell look as predicted for the wrong reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address

from testbed.model.contract import Event
from testbed.model.fault import Late, NeverSent, Tardy, Undelayed
from testbed.model.outcome import StepName
from testbed.model.packet import ACK, RST, SYN, Packet
from testbed.model.plan import Plan
from testbed.model.topology import Topology
from testbed.verdict.steps import leading_step

# A capture's clock is exact; delays are made by timers that never fire early.
SHORTEST = 0.9  # of the planned round trip


def never_sent(
    packets: Sequence[Packet], plan: Plan, senders: Sequence[str], server: str, start_ns: int | None
) -> list[NeverSent]:
    """Those of ``senders`` that made no attempt.

    After ``start_ns`` a packet to somebody else than the server is an attempt.  None:
    the attempt ended while gathering, and then any packet is one.
    """
    served = set(plan.addresses[server])
    found = []
    for node in senders:
        sent = (p for p in packets if p.outgoing and p.node == node)
        if start_ns is not None:
            sent = (
                p for p in sent if p.time_ns >= start_ns and p.destination.address not in served
            )
        if next(sent, None) is None:
            found.append(NeverSent(node))
    return found


def undelayed(
    packets: Sequence[Packet], plan: Plan, hosts: Sequence[str], server: str
) -> list[Undelayed]:
    """Round trips to the server that were shorter than the links' planned delays."""
    served = set(plan.addresses[server])
    found = []
    for host in hosts:
        planned_ms = _round_trip_ms(plan.topology, host, server)
        measured_ms = _first_round_trip_ms(packets, host, served)
        if measured_ms is not None and measured_ms < SHORTEST * planned_ms:
            found.append(Undelayed(host, server, measured_ms, planned_ms))
    return found


def _round_trip_ms(topology: Topology, host: str, server: str) -> float:
    links = [topology.host(host).link, topology.host(server).link]
    links += [router.link for node in (host, server) for router in topology.path_out(node)]
    return sum(
        impairment.delay_ms - impairment.jitter_ms
        for link in links
        for impairment in (link.up, link.down)
    )


def _first_round_trip_ms(
    packets: Sequence[Packet], host: str, served: set[IPv4Address]
) -> float | None:
    asked = next(
        (p for p in packets if p.outgoing and p.node == host and p.destination.address in served),
        None,
    )
    if asked is None:
        return None
    answer = next(
        (
            p
            for p in packets
            if not p.outgoing
            and p.node == host
            and p.source.address in served
            and p.time_ns > asked.time_ns
        ),
        None,
    )
    return (answer.time_ns - asked.time_ns) / 1e6 if answer else None


def crossed(
    packets: Sequence[Packet], plan: Plan, one: str, other: str, start_ns: int | None
) -> tuple[int, int] | None:
    """The first packets that crossed between two peers, one each way.

    None if there are not both.  Whoever's probe arrives is answered, so one way alone is
    what a filter leaves of a failed attempt; both ways are a connection.
    """
    if start_ns is None:
        return None
    there = _crossing(packets, plan, one, other, start_ns)
    back = _crossing(packets, plan, other, one, start_ns)
    return (there[0], back[0]) if there and back else None


def _crossing(
    packets: Sequence[Packet], plan: Plan, source: str, target: str, start_ns: int
) -> list[int]:
    """Numbers of packets that ``target`` got from where ``source`` is seen."""
    nodes = {source, *(router.name for router in plan.topology.path_out(source))}
    seen_as = {address for node in nodes for address in plan.addresses[node]}
    return [
        p.number
        for p in packets
        if not p.outgoing
        and p.node == target
        and p.time_ns >= start_ns
        and p.source.address in seen_as
        and _says_something(p)
    ]


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


def late_starts(
    packets: Sequence[Packet], plan: Plan, starts: Mapping[str, Start], server: str
) -> list[Late]:
    """By how many ms each peer sent its first packet to others than ``server`` after it was due.

    Did both really start together?  Who sends none is judged elsewhere.
    """
    late = []
    for node, start in starts.items():
        sent = (
            p
            for p in packets
            if p.outgoing
            and p.node == node
            and p.time_ns >= start.since_ns
            and plan.owners.get(p.destination.address) != server
        )
        if (first := next(sent, None)) is not None:
            ms = max(0.0, first.time_ns - start.due_ns) / 1e6
            late.append(Late(Tardy.START, node, ms))
    return late


def late_punches(
    packets: Sequence[Packet],
    plan: Plan,
    events: Sequence[tuple[str, Event]],
    one: str,
    other: str,
) -> list[Late]:
    """By how many ms each peer's punch left after the peer had decided on it.

    A process that waits for a processor in between does not follow the protocol's
    times, and is not to blame.  A peer that never punched is left out.
    """
    late = []
    for node, target in ((one, other), (other, one)):
        decided = leading_step([e for name, e in events if name == node], StepName.PUNCHING)
        if decided is None:
            continue
        nodes = {target, *(router.name for router in plan.topology.path_out(target))}
        sent = (
            p.time_ns
            for p in packets
            if p.outgoing
            and p.node == node
            and p.time_ns >= decided.realtime
            and plan.owners.get(p.destination.address) in nodes
        )
        first = next(sent, None)
        if first is not None:
            late.append(Late(Tardy.PUNCH, node, (first - decided.realtime) / 1e6))
    return late
