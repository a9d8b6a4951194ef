"""Why a direct connection was had: which packet opened which hole for which."""

from dataclasses import replace
from itertools import chain

from testbed.explain.causes.finding import Finding, line, mapped, unknown
from testbed.explain.scene import Crossing, Scene
from testbed.explain.sides import Side
from testbed.model.behaviour import Filtering, Protocol
from testbed.model.contract import How, Upgraded
from testbed.model.explanation import Cause, Line
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Journey
from testbed.model.packet import RST, Endpoint
from testbed.model.statement import At, ways
from testbed.model.statement.lacks import ConnectionPackets, Events, HowIn, NatPackets


class _Entry(FrozenValue):
    """A packet that passed one NAT inwards, and the one that had opened it, if any had."""

    passed: Crossing
    hole: Crossing | None  # of the very tuple
    near: Crossing | None  # to another port of the same address


def why(scene: Scene) -> Finding:
    """How the first packets came through, both ways."""
    a, b = scene.sides
    if lacking := scene.whole.absent(a.node, b.node, *_routers(scene)):
        return unknown(ways.WayUnseen(), *lacking)
    there, back = (_arrived(scene, side, other) for side, other in ((a, b), (b, a)))
    if there is None or back is None:
        source, target = (a, b) if there is None else (b, a)
        return unknown(
            ways.ArrivalUnseen(source.node, target.node),
            *(scene.whole.trouble or (ConnectionPackets(),)),
        )
    opening = min((there, back), key=lambda journey: journey.last.time_ns)
    side = a if opening is there else b
    for look in (_without_nat, _hairpinned, _reversed):
        if finding := look(scene, side, opening):
            return finding
    return _entered(scene, side, opening, back if opening is there else there)


def _routers(scene: Scene) -> list[str]:
    """All that a connection may pass; those that both are behind only if they hairpin."""
    a, b = scene.sides
    shared = a.routers == b.routers
    return [] if shared else [*a.routers, *b.routers]


def _arrived(scene: Scene, side: Side, other: Side) -> Journey | None:
    """The first of a connection: in a plain dial and a reversal others came before in vain."""
    came = (j for j in scene.tries(side) if j.arrived and j.end.node == other.node)
    return next((j for j in came if not j.first.tcp_flags & RST), None)


def _without_nat(scene: Scene, side: Side, opening: Journey) -> Finding | None:
    """Nothing translates or filters between them."""
    other = scene.other(side)
    if any(scene.is_router(hop.node) for hop in opening.hops):
        return None
    if opening.first.destination.address not in scene.other(side).own:
        came = ways.PacketCame(side.node, other.node, to=opening.first.destination)
        return unknown(came, NatPackets())
    shared = side.routers == other.routers
    passed = ways.PassedNoNat(side.node, opening.last.destination)
    return Finding(
        Cause.SAME_NETWORK,
        None,
        ways.NoNatBetween(scene.dialer.node, scene.listener.node, bool(side.routers and shared)),
        (line(passed, opening.first, opening.last),),
        (opening.last,),
    )


def _hairpinned(scene: Scene, side: Side, opening: Journey) -> Finding | None:
    """The NAT that both are behind sent it back inside."""
    for hop in opening.hops:
        crossing = scene.crossing(hop.node, opening)
        if crossing is None or not crossing.hairpin:
            continue
        out = crossing.packet
        back = ways.CameBackIn(side.node, crossing.remote, hop.node, out.source, out.destination)
        return Finding(
            Cause.HAIRPINNED,
            hop.node,
            ways.Hairpinned(hop.node, side.node, scene.other(side).node),
            (mapped(crossing, back),),
            (out,),
        )
    return None


def _reversed(scene: Scene, side: Side, opening: Journey) -> Finding | None:
    """The listener dialed back, for the dialer can be reached."""
    told = [u for one in scene.sides for u in one.all(Upgraded)]
    if not told or any(u.how is not How.REVERSED for u in told):
        return None
    if side is not scene.listener:
        return None
    target = scene.other(side)
    lines = _entry_lines(scene, side, _entries(scene, opening))
    dialed = ways.DialedBack(side.node, opening.first.destination, target.node)
    return Finding(
        Cause.REVERSED,
        target.routers[-1] if target.routers else target.node,
        ways.Reversed(target.node, side.node),
        (line(dialed, opening.first, opening.last), *lines),
        (opening.last,),
    )


def _entered(scene: Scene, side: Side, opening: Journey, answer: Journey) -> Finding:
    """Through at least one NAT: opened, open to anybody, or forwarding."""
    other = scene.other(side)
    entries = _entries(scene, opening)
    lines = (
        *_entry_lines(scene, side, entries),
        *_entry_lines(scene, other, _entries(scene, answer)),
    )
    learned = _learned(scene, side, opening, answer)
    for entry in entries:
        if mapped_port := _port_mapped(scene, entry):
            return mapped_port.after(lines)
    if learned is not None:
        return learned.after(lines)
    if scene.evidence.events is None and scene.evidence.mode != "plain_dial":
        came = ways.PacketCame(side.node, other.node, source=opening.last.source)
        return unknown(came, Events(signalled=True))
    if (uninvited := next((e for e in entries if e.hole is None), None)) is not None:
        return _admitted(scene, side, uninvited).after(lines)
    for public, arrival in ((other, opening), (side, answer)):
        if not public.routers:
            return _reachable(scene, public, arrival).after(lines)
    if not entries:
        return unknown(ways.CameByNoNat(side.node, other.node), HowIn())
    return _opened(scene, side, entries).after(lines)


def _admitted(scene: Scene, side: Side, entry: _Entry) -> Finding:
    passed = entry.passed
    by_address = _by_address(scene, entry)
    return Finding(
        Cause.FILTER_ADMITS,
        passed.router,
        ways.Admitted(passed.router, side.node, passed.external, by_address, passed.remote),
        decisive=(passed.packet,),
    )


def _reachable(scene: Scene, public: Side, came: Journey) -> Finding:
    other = scene.other(public).node
    return Finding(
        Cause.REACHABLE,
        public.node,
        ways.Reachable(public.node, other),
        (line(ways.PacketCame(other, public.node), came.first, came.last),),
        (came.last,),
    )


def _opened(scene: Scene, side: Side, entries: list[_Entry]) -> Finding:
    """By the hole of the innermost NAT, which the other peer's own packet made."""
    entry, other = entries[-1], scene.other(side).node
    hole, router = entry.hole, entry.passed.router
    assert hole is not None  # else it had been admitted
    lead = (entry.passed.time_ns - hole.time_ns) / 1e6
    return Finding(
        Cause.BOTH_OPENED,
        router,
        ways.HadOpened(other, hole.remote, router, lead, side.node),
        decisive=(hole.packet, entry.passed.packet),
    )


def _learned(scene: Scene, side: Side, opening: Journey, answer: Journey) -> Finding | None:
    """The answer goes to where the opening came from, which nobody had signalled."""
    seen = opening.last.source
    if scene.evidence.mode == "plain_dial" or scene.evidence.events is None:
        return None
    if seen in side.told or answer.first.destination != seen or not side.told:
        return None
    other = scene.other(side).node
    signalled = not scene.circuits  # what CONNECT says is encrypted
    return Finding(
        Cause.LEARNED_ADDRESS,
        side.routers[-1] if side.routers else side.node,
        ways.Learned(side.node, signalled, side.told, seen, other),
        (line(ways.AnswersSeen(other, seen, side.node), opening.last, answer.first),),
        (opening.last, answer.first),
    )


# -- what let a packet in ------------------------------------------------------


def _entries(scene: Scene, journey: Journey) -> list[_Entry]:
    """Every NAT that ``journey`` entered from outside, in order."""
    found = []
    for hop in journey.hops:
        crossing = scene.crossing(hop.node, journey)
        if crossing is not None and not crossing.outbound:
            found.append(_entry(scene, crossing))
    return found


def _entry(scene: Scene, passed: Crossing) -> _Entry:
    hole = near = None
    for earlier in scene.crossings[passed.router]:
        if earlier.time_ns >= passed.time_ns:
            break
        same = earlier.packet.protocol == passed.packet.protocol
        if not same or earlier.external != passed.external:
            continue
        if not earlier.outbound:
            reset = earlier.packet.tcp_flags & RST and earlier.remote == passed.remote
            hole = None if reset else hole  # a RST ends it; the next packet out opens it anew
        elif earlier.remote == passed.remote:
            hole = hole or earlier
        elif earlier.remote.address == passed.remote.address:
            near = near or earlier
    return _Entry(passed, hole, near)


def _port_mapped(scene: Scene, entry: _Entry) -> Finding | None:
    """A static forward or a lease let it in, where nothing else had opened the way."""
    passed = entry.passed
    if entry.hole is not None:
        return None
    lease = scene.leased(passed.router, passed.external.port, passed.time_ns)
    if lease is not None:
        asked = ways.AskedForPort(passed.router, lease.external_port)
        return Finding(
            Cause.PORT_MAPPED,
            passed.router,
            replace(asked, target=passed.internal),
            (line(At(asked, scene.ms(lease.packet)), lease.packet),),
            (lease.packet, passed.packet),
        )
    for forward in scene.behaviour(passed.router).forwards:
        same = forward.protocol is Protocol(passed.packet.protocol)
        if same and forward.external_port == passed.external.port:
            static = ways.Forwards(passed.router, passed.external.port, passed.internal)
            shown = (passed.packet,)
            return Finding(Cause.PORT_MAPPED, passed.router, static, decisive=shown)
    return _exposed(scene, entry)


def _exposed(scene: Scene, entry: _Entry) -> Finding | None:
    """It came to a host that its NAT exposes, past the mappings."""
    passed = entry.passed
    host = scene.plan.exposed(passed.router, passed.external.address)
    if host is None or passed.internal != Endpoint(host, passed.external.port):
        return None
    if entry.near is not None:
        return None
    exposes = ways.Exposes(passed.router, passed.external.port, passed.internal)
    return Finding(Cause.PORT_MAPPED, passed.router, exposes, decisive=(passed.packet,))


def _entry_lines(scene: Scene, side: Side, entries: list[_Entry]) -> tuple[Line, ...]:
    """For each NAT: what opened it, and what came in by that."""
    return tuple(chain.from_iterable(_lines(scene, side, entry) for entry in entries))


def _by_address(scene: Scene, entry: _Entry) -> bool:
    """True: the filter looks at the address alone; else it lets anybody in."""
    if entry.near is None:
        return False
    axes = scene.transport(entry.passed.router, entry.passed.packet.protocol)
    return axes.filtering is not Filtering.ENDPOINT_INDEPENDENT


def _lines(scene: Scene, side: Side, entry: _Entry) -> list[Line]:
    passed, router = entry.passed, entry.passed.router
    found = []
    if (opener := entry.hole or entry.near) is not None:
        found.append(
            mapped(
                opener,
                ways.Opened(opener.internal, opener.remote, opener.external, router),
            )
        )
    by_address = None if entry.hole else _by_address(scene, entry)
    came = ways.CameIn(
        side.node,
        passed.remote,
        router,
        passed.external,
        by_address,
        scene.ms(passed.packet),
    )
    return [*found, mapped(passed, came)]
