"""Which rung of the ladder carried the echo?  Read off the wire, and held to what was said.

A connection is known by its echo's payloads, and the rung by how it was opened:

- relayed: the payloads passed a third host (`testbed.verdict.wire`);
- reversed: the listener was the client of the handshake;
- direct: the dialer was, and its opening needed nothing: it left before a circuit was asked
  for, and came before the listener had sent anything towards the dialer;
- punched: the dialer was, and one of the two does not hold.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address
from typing import NamedTuple

from testbed.evidence.account import WireAccount
from testbed.model.breach import Breach, RungClaimed, RungDiffers
from testbed.model.contract import Event, PortMapping, RungReached, Upgraded
from testbed.model.outcome import Outcome, Rung, RungReading
from testbed.model.packet import Endpoint, Packet
from testbed.model.plan import Plan
from testbed.model.window import SHORTEST, Window
from testbed.verdict import handshake


class _Flow(NamedTuple):
    """One connection's packets at one peer, in order of time, by direction."""

    sent: list[Packet]
    got: list[Packet]


def read_rung(account: WireAccount, ends: tuple[str, str], outcome: Outcome) -> Rung | None:
    """The rung that carried the echo between ``ends``, the dialer and the listener.

    ``outcome`` is the wire's; None where there was no connection, or where its opening is
    not to be found.
    """
    if outcome is Outcome.RELAYED:
        return Rung.RELAYED
    window, start_ns = account.window, account.start_ns
    if outcome is Outcome.NONE or window is None or start_ns is None:
        return None
    dialer, listener = ends
    here, there = (
        _flow_of_echo(account, node, other, window, start_ns)
        for node, other in ((dialer, listener), (listener, dialer))
    )
    if _is_client(there, here):
        return Rung.REVERSED
    came = _opening(there)
    if came is None:  # the listener's opening got through, and yet it is not the client
        return Rung.PUNCHED if _opening(here) is not None else None
    faces = _faces(account.plan, dialer)
    since = [p for p in account.seen(listener) if p.time_ns >= start_ns]
    helped = sent_unasked(since, faces)
    left = _first_left(here, came)
    heard = sum(
        len(p.payload)
        for p in since
        if not p.outgoing and p.time_ns < left and p.source.address not in faces
    )
    return Rung.PUNCHED if helped or heard >= SHORTEST else Rung.DIRECT


def rung_reading(
    events: Iterable[tuple[str, Event]],
    ends: tuple[str, str],
    rungs: tuple[Rung | None, Rung | None],
    start_ns: int | None,
) -> RungReading:
    """What the peers say of times and mappings, beside ``rungs``: predicted, measured.

    ``start_ns`` is when the dial began, by the events' clock.
    """
    said, (dialer, listener) = tuple(events), ends
    reached = [e for name, e in said if name == dialer and isinstance(e, RungReached)]
    dialed = {e.remote for e in reached}
    dialed |= {e.remote for name, e in said if name == listener and isinstance(e, Upgraded)}
    mapped = {
        e.external: e.service
        for _, e in said
        if isinstance(e, PortMapping) and e.external and not e.trouble
    }
    times = [round((e.at - start_ns) / 1e6, 1) for e in reached] if start_ns is not None else []
    return RungReading(
        *rungs,
        next((service for remote, service in mapped.items() if remote in dialed), None),
        times[0] if times else None,
        times[-1] if times else None,
    )


def check_rung(
    found: RungReading, events: Iterable[tuple[str, Event]], dialer: str
) -> list[Breach]:
    """How the rung differs from the predicted and from what the dialer says."""
    told = [e.rung for name, e in events if name == dialer and isinstance(e, RungReached)]
    claimed = Rung(told[-1]) if told else None
    differs: list[Breach] = []
    if found.measured is not found.predicted:
        differs.append(RungDiffers(found.predicted, found.measured))
    if claimed is not found.measured:
        differs.append(RungClaimed(dialer, claimed, found.measured))
    return differs


def _faces(plan: Plan, node: str) -> frozenset[IPv4Address]:
    """By which addresses others know a host."""
    return frozenset(ip for name in plan.topology.around(node) for ip in plan.addresses[name])


def _flow_of_echo(
    account: WireAccount, node: str, other: str, window: Window, start_ns: int
) -> _Flow:
    """The connection by which the echo of ``node`` came to ``other``; empty if there is none."""
    went = (
        journey.first
        for journey in account.sent(node)
        if journey.arrived
        and journey.end.node == other
        and window.start_ns <= journey.first.time_ns <= window.end_ns
        and len(journey.first.payload) >= SHORTEST
    )
    echo = next(went, None)
    if echo is None:
        return _Flow([], [])
    ends = {_end(echo.source), _end(echo.destination)}
    both = [
        p
        for p in account.seen(node)
        if p.protocol == echo.protocol
        and {_end(p.source), _end(p.destination)} == ends
        and start_ns <= p.time_ns <= window.end_ns
    ]
    begun = max((p.time_ns for p in both if p.is_syn and p.time_ns < echo.time_ns), default=0)
    payloads = [p for p in both if p.time_ns >= begun or not p.payload]  # of the last attempt
    return _Flow([p for p in payloads if p.outgoing], [p for p in payloads if not p.outgoing])


def _end(endpoint: Endpoint) -> tuple[str, int]:
    return str(endpoint.address), endpoint.port


def _is_client(mine: _Flow, other: _Flow) -> bool:
    """Did this side begin the handshake of the connection?"""
    if any(p.protocol == "tcp" for p in mine.sent):
        return handshake.first_noise_length(mine.sent) == handshake.NOISE_FIRST
    came, went = (handshake.quic_initials(flow.got) for flow in (other, mine))
    if not came:
        return False
    return not went or came[0].packet.time_ns < went[0].packet.time_ns


def _opening(flow: _Flow) -> Packet | None:
    """The other side's opening, when it reached this one."""
    opened = [p for p in flow.got if p.is_syn]
    opened = opened or [one.packet for one in handshake.quic_initials(flow.got)]
    return opened[0] if opened else None


def _first_left(flow: _Flow, opening: Packet) -> int:
    """When this side began the attempt of which ``opening`` is what arrived.

    What is sent again has the same sequence number, or connection id; NATs leave both alone.
    """
    syns = [p.time_ns for p in flow.sent if p.is_syn and p.tcp_seq == opening.tcp_seq]
    ids = {one.destination for one in handshake.quic_initials([opening])}
    initials = handshake.quic_initials(flow.sent)
    return min([*syns, *(i.packet.time_ns for i in initials if i.destination in ids)], default=0)


def sent_unasked(seen: Iterable[Packet], faces: frozenset[IPv4Address]) -> bool:
    """Did a host send towards another before it heard of it?  ``seen`` there in order of time.

    An answer, also one to another dial than that which is used in the end, opens no way
    that was not open; a SYN or a datagram of its own may.
    """
    for p in seen:
        if p.outgoing and p.destination.address in faces and (p.is_syn or p.protocol == "udp"):
            return True
        if not p.outgoing and p.source.address in faces:
            return False
    return False
