"""Why a direct connection was had: which packet opened which hole for which."""

from dataclasses import dataclass
from itertools import chain

from testbed.explain.causes.finding import Finding, line, mapped, unknown
from testbed.explain.scene import Crossing, Scene
from testbed.explain.sides import Side
from testbed.model.behaviour import Filtering, Protocol
from testbed.model.contract import How, Upgraded
from testbed.model.explanation import Cause, Journey, Line
from testbed.model.packet import RST


@dataclass(frozen=True)
class _Entry:
    """A packet that passed one NAT inwards, and the one that had opened it, if any had."""

    passed: Crossing
    hole: Crossing | None  # of the very tuple
    near: Crossing | None  # to another port of the same address


def why(scene: Scene) -> Finding:
    """How the first packets came through, both ways."""
    a, b = scene.sides
    if lacking := scene.whole.absent(a.node, b.node, *_routers(scene)):
        return unknown("the wire shows a direct connection, and not all of its way", *lacking)
    there, back = (_arrived(scene, side, other) for side, other in ((a, b), (b, a)))
    if there is None or back is None:
        source, target = (a, b) if there is None else (b, a)
        return unknown(
            f"the wire shows a direct connection, but no packet from {source.node} "
            f"that came to {target.node}",
            *(scene.whole.trouble or ("the packets of the connection",)),
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
        return unknown(
            f"{side.node}'s packet to {opening.first.destination} came to {scene.other(side).node}",
            "the packets of the NAT that brought it there",
        )
    shared = not side.routers or side.routers == other.routers
    words = (
        f"{side.node}'s packet went to {opening.last.destination} "
        "without passing a NAT, and arrived"
    )
    where = "in one network" if side.routers and shared else "on the internet"
    return Finding(
        Cause.SAME_NETWORK,
        None,
        f"{scene.dialer.node} and {scene.listener.node} are both {where}: "
        "no NAT stands between them",
        (line(words, opening.first, opening.last),),
        (opening.last,),
    )


def _hairpinned(scene: Scene, side: Side, opening: Journey) -> Finding | None:
    """The NAT that both are behind sent it back inside."""
    for hop in opening.hops:
        crossing = scene.crossing(hop.node, opening)
        if crossing is None or not crossing.hairpin:
            continue
        out = crossing.packet
        words = (
            f"{side.node} sent to {crossing.remote}, which is {hop.node}'s own outside: "
            f"it came back in as {out.source} to {out.destination}"
        )
        return Finding(
            Cause.HAIRPINNED,
            hop.node,
            f"{hop.node} hairpins: it took {side.node}'s packet to its own outside address "
            f"back in to {scene.other(side).node}",
            (mapped(crossing, words),),
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
    words = f"{side.node} dialed {opening.first.destination}, and that came to {target.node}"
    return Finding(
        Cause.REVERSED,
        target.routers[-1] if target.routers else target.node,
        f"{target.node} can be reached from outside, so {side.node} dialed back "
        "instead of punching",
        (line(words, opening.first, opening.last), *lines),
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
        return unknown(
            f"{side.node}'s packet from {opening.last.source} came to {other.node}",
            "what the peers said: their events, with the addresses that were signalled",
        )
    if (uninvited := next((e for e in entries if e.hole is None), None)) is not None:
        return _admitted(scene, side, uninvited).after(lines)
    for public, came in ((other, opening), (side, answer)):
        if not public.routers:
            return _reachable(scene, public, came).after(lines)
    if not entries:
        return unknown(f"{side.node}'s packet came to {other.node} by no NAT", "how it came in")
    return _opened(scene, side, entries).after(lines)


def _admitted(scene: Scene, side: Side, entry: _Entry) -> Finding:
    passed = entry.passed
    words = f"{passed.router} let {side.node}'s packet in to {passed.external}"
    return Finding(
        Cause.FILTER_ADMITS,
        passed.router,
        f"{words}, for {_rule(scene, entry)}: nobody had sent to {passed.remote}",
        decisive=(passed.packet,),
    )


def _reachable(scene: Scene, public: Side, came: Journey) -> Finding:
    other = scene.other(public).node
    return Finding(
        Cause.REACHABLE,
        public.node,
        f"no NAT stands before {public.node}: whatever {other} sends comes to it",
        (line(f"{other}'s packet came to {public.node}", came.first, came.last),),
        (came.last,),
    )


def _opened(scene: Scene, side: Side, entries: list[_Entry]) -> Finding:
    """By the hole of the innermost NAT, which the other peer's own packet made."""
    entry = entries[-1]
    hole = entry.hole
    assert hole is not None  # else it had been admitted
    lead = (entry.passed.time_ns - hole.time_ns) / 1e6
    return Finding(
        Cause.BOTH_OPENED,
        entry.passed.router,
        f"{scene.other(side).node}'s packet to {hole.remote} had opened {entry.passed.router} "
        f"{lead:.1f} ms before {side.node}'s came in there",
        decisive=(hole.packet, entry.passed.packet),
    )


def _learned(scene: Scene, side: Side, opening: Journey, answer: Journey) -> Finding | None:
    """The answer goes to where the opening came from, which nobody had signalled."""
    seen = opening.last.source
    if scene.evidence.mode == "plain_dial" or scene.evidence.events is None:
        return None
    if seen in side.told or answer.first.destination != seen or not side.told:
        return None
    told = ", ".join(map(str, side.told))
    known = "was seen as" if scene.circuits else "had signalled"  # what CONNECT says is encrypted
    words = f"{scene.other(side).node} answers {seen}, from where {side.node}'s packet came"
    return Finding(
        Cause.LEARNED_ADDRESS,
        side.routers[-1] if side.routers else side.node,
        f"{side.node} {known} {told} and comes from {seen}: "
        f"{scene.other(side).node} answered what it saw",
        (line(words, opening.last, answer.first),),
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
        words = f"{passed.router} had been asked for its port {lease.external_port}"
        return Finding(
            Cause.PORT_MAPPED,
            passed.router,
            f"{words}, and forwards it to {passed.internal}",
            (line(f"{words}, at {scene.ms(lease.packet)}", lease.packet),),
            (lease.packet, passed.packet),
        )
    for forward in scene.behaviour(passed.router).forwards:
        same = forward.protocol is Protocol(passed.packet.protocol)
        if same and forward.external_port == passed.external.port:
            words = f"{passed.router} forwards port {passed.external.port} to {passed.internal}"
            shown = (passed.packet,)
            return Finding(Cause.PORT_MAPPED, passed.router, words, decisive=shown)
    return None


def _entry_lines(scene: Scene, side: Side, entries: list[_Entry]) -> tuple[Line, ...]:
    """For each NAT: what opened it, and what came in by that."""
    return tuple(chain.from_iterable(_lines(scene, side, entry) for entry in entries))


def _rule(scene: Scene, entry: _Entry) -> str:
    """What lets in a packet that nothing had been sent to."""
    if entry.near is None:
        return "its filter lets anybody in"
    axes = scene.transport(entry.passed.router, entry.passed.packet.protocol)
    if axes.filtering is Filtering.ENDPOINT_INDEPENDENT:
        return "its filter lets anybody in"
    return "its filter looks at the address alone"


def _lines(scene: Scene, side: Side, entry: _Entry) -> list[Line]:
    passed, router = entry.passed, entry.passed.router
    found = []
    if (opener := entry.hole or entry.near) is not None:
        found.append(
            mapped(
                opener,
                f"{opener.internal} sent to {opener.remote}: that opened {opener.external} "
                f"at {router}",
            )
        )
    how = "by that" if entry.hole else f"for {_rule(scene, entry)}"
    found.append(
        mapped(
            passed,
            f"{side.node}'s packet from {passed.remote} came in at {router} to "
            f"{passed.external} {how}, at {scene.ms(passed.packet)}",
        )
    )
    return found
