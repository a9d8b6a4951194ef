"""Why a peer's packets left by another endpoint than the one that was told of it."""

from testbed.explain.causes.finding import Finding, line, mapped, unknown
from testbed.explain.scene import Crossing, Scene, outer
from testbed.explain.sides import Side
from testbed.model.behaviour import Mapping, Refresh, WanInput
from testbed.model.explanation import Cause, Line
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Change, FlowEvent, Journey
from testbed.model.packet import Endpoint, Packet
from testbed.model.statement import mappings
from testbed.model.statement.lacks import Became, Conntrack, LearnedBy

CLOCK_NS = 100_000_000  # a timer of the kernel's ends so much early, seen from the wire


class Changed(FrozenValue):
    """At ``router`` one internal endpoint had one external end, and has another now."""

    side: Side
    router: str
    asked: Crossing
    left: Crossing


def misled(scene: Scene, side: Side, told: Endpoint, journey: Journey) -> Finding:
    """Why ``journey`` of ``side`` does not come from ``told``, where the other peer sends to."""
    query = _query(scene, side, told, journey)
    if query is None:
        return _never_mapped(scene, side, told, journey)
    for router in side.routers:
        asked, left = (scene.crossing(router, j) for j in (query, journey))
        if asked is None or left is None:
            break
        if asked.internal != left.internal:
            return _other_socket(side, asked, left)
        if asked.external != left.external:
            return _reason(scene, Changed(side, router, asked, left))
    return unknown(
        mappings.ComesFrom(side.node, journey.last.source, told), Became(told, journey.last.source)
    )


def _query(scene: Scene, side: Side, told: Endpoint, journey: Journey) -> Journey | None:
    """The first packet to a public node that left ``side``'s NATs as ``told``."""
    for one in scene.asked(side):
        if one.first.time_ns > journey.first.time_ns:
            break
        passed = scene.crossing(side.routers[-1], one) if side.routers else None
        source = passed.external if passed else one.first.source
        if source == told and one.first.protocol == journey.first.protocol:
            return one
    return None


def _never_mapped(scene: Scene, side: Side, told: Endpoint, journey: Journey) -> Finding:
    """No packet of ``side`` ever came from what it told."""
    flow = _flow_with(scene, side, told)
    if flow is not None:  # conntrack remembers what the capture does not show
        left = scene.crossing(side.routers[-1], journey)
        mapping = mappings.HadMapped(flow.node, flow.original[0], told, flow.original[1])
        if left is not None and left.internal == flow.original[0]:
            return Finding(
                Cause.MAPPING_CHANGED,
                flow.node,
                mappings.MappingChanged(flow.node, side.node, told, left.external, left.remote),
                (line(mapping), _left_as(side, left)),
                (left.packet,),
            )
    lacking = scene.whole.absent(side.node, *side.routers)
    if lacking or told in side.observed:
        return unknown(
            mappings.ToldOther(side.node, told, journey.last.source),
            *lacking,
            LearnedBy(side.node, told),
        )
    aimed = [j.first for j in scene.tries(scene.other(side)) if j.first.destination == told][:1]
    vain = mappings.SendsToNothing(scene.other(side).node, told, side.node)
    return Finding(
        Cause.SIGNALLED_STALE,
        side.node,
        mappings.NeverSource(side.node, told),
        (
            line(vain, *aimed),
            line(mappings.PacketsFrom(side.node, journey.last.source), journey.last),
        ),
        (*aimed, journey.last),
    )


def _flow_with(scene: Scene, side: Side, told: Endpoint) -> FlowEvent | None:
    flows = scene.flows(side.routers[-1]) if side.routers else None
    return next((f for f in flows or () if f.reply[1] == told), None)


def _other_socket(side: Side, asked: Crossing, left: Crossing) -> Finding:
    return Finding(
        Cause.SIGNALLED_STALE,
        side.node,
        mappings.OtherSocket(side.node, asked.internal, left.internal),
        (_asked_as(side, asked), _left_as(side, left)),
        (left.packet,),
    )


def _asked_as(side: Side, asked: Crossing) -> Line:
    return mapped(asked, mappings.AskedAs(side.node, asked.remote, asked.router, asked.external))


def _left_as(side: Side, left: Crossing) -> Line:
    return mapped(left, mappings.LeftAs(left.remote, left.router, side.node, left.external))


def _reason(scene: Scene, changed: Changed) -> Finding:
    """Taken, collided or timed out, if one of them shows; else it is how this NAT maps."""
    lines = (_asked_as(changed.side, changed.asked), _left_as(changed.side, changed.left))
    for look in (_taken, _collided, _timed_out):
        if finding := look(scene, changed):
            return finding.after(lines)
    side, asked, left = changed.side, changed.asked, changed.left
    return Finding(
        Cause.MAPPING_CHANGED,
        changed.router,
        mappings.MappingChanged(
            changed.router, side.node, asked.external, left.external, left.remote
        ),
        lines,
        (left.packet,),
    )


def _steady(scene: Scene, changed: Changed) -> bool:
    """By its profile this NAT keeps one external endpoint for all destinations."""
    axes = scene.transport(changed.router, changed.left.packet.protocol)
    return axes.mapping is Mapping.ENDPOINT_INDEPENDENT


def _taken(scene: Scene, changed: Changed) -> Finding | None:
    """A packet that came early, and that the router's own kernel took, owns the tuple."""
    router, left, told = changed.router, changed.left, changed.asked.external
    early = _early(scene, router, left, told)
    if early is None or not _steady(scene, changed):
        return None
    owned = _owned(scene, router, left, told)
    if owned is None:
        return unknown(
            mappings.LeavesAfterEarly(changed.side.node, router, left.external, told),
            Conntrack(router),
        )
    if not owned:
        return None
    lead = (left.time_ns - early.time_ns) / 1e6
    took = mappings.TookEarly(early.source, told, lead, changed.side.node, router)
    return Finding(
        Cause.TUPLE_TAKEN,
        router,
        mappings.TupleTaken(early.source, told, router, changed.side.node, left.external),
        (line(took, early),),
        (early, left.packet),
    )


def _early(scene: Scene, router: str, left: Crossing, told: Endpoint) -> Packet | None:
    """What came from the remote to the told endpoint before, and ended at the router."""
    for journey in scene.ended(router):
        packet = journey.end.inward
        if packet is None or packet.time_ns >= left.time_ns or not outer(journey.end):
            continue
        if (packet.source, packet.destination) == (left.remote, told):
            return packet
    return None


def _owned(scene: Scene, router: str, left: Crossing, told: Endpoint) -> bool | None:
    """Had the router's conntrack an entry of its own for the tuple?  None: nobody recorded it."""
    flows = scene.flows(router)
    if flows is None:
        return True if scene.behaviour(router).wan_input is WanInput.ACCEPT else None
    return any(
        flow.change is not Change.DESTROY
        and flow.original == (left.remote, told)
        and flow.time_ns <= left.time_ns
        for flow in flows
    )


def _collided(scene: Scene, changed: Changed) -> Finding | None:
    """Somebody else inside has the port."""
    asked, left = changed.asked, changed.left
    for other in scene.outbound(changed.router, left.packet.protocol):
        if other.time_ns >= left.time_ns:
            break
        if other.external != asked.external or other.internal == left.internal:
            continue
        if other.remote == left.remote or not _steady(scene, changed):
            uses = mappings.Uses(changed.router, other.external, other.remote, other.internal)
            return Finding(
                Cause.PORT_COLLISION,
                changed.router,
                mappings.Collided(uses, changed.side.node, left.external),
                (mapped(other, uses),),
                (other.packet, left.packet),
            )
    return None


def _timed_out(scene: Scene, changed: Changed) -> Finding | None:
    """Nothing kept the mapping alive for longer than the NAT keeps it."""
    if not _steady(scene, changed):
        return None
    return timed_out(scene, changed.router, changed.asked, changed.left)


def timed_out(scene: Scene, router: str, asked: Crossing, left: Crossing) -> Finding | None:
    """None if the mapping of ``asked`` was in use shortly before ``left``."""
    last = _last_use(scene, router, asked, left.time_ns)
    idle_ns = left.time_ns - last.time_ns
    allowed = _lifetime(scene, router, asked)
    ended = _destroyed(scene, router, asked, last.time_ns, left.time_ns)
    if idle_ns < allowed * 1e9 - CLOCK_NS and ended is None:
        return None
    over = None if ended is None else scene.ms(ended.time_ns)
    unkept = mappings.Unkept(asked.internal, asked.external, idle_ns / 1e9, over)
    return Finding(
        Cause.MAPPING_TIMED_OUT,
        router,
        mappings.Forgets(router, allowed, asked.external, idle_ns / 1e9),
        (line(unkept, *last.packets, left.packet),),
        (last.packet, left.packet),
    )


def _last_use(scene: Scene, router: str, asked: Crossing, before_ns: int) -> Crossing:
    """The last packet of the mapping that refreshed it, before a moment."""
    both = scene.behaviour(router).refresh is Refresh.BOTH
    found = asked
    for crossing in scene.crossings.get(router, ()):
        if crossing.time_ns >= before_ns:
            break
        same = (crossing.internal, crossing.external) == (asked.internal, asked.external)
        if same and crossing.packet.protocol == asked.packet.protocol:
            found = crossing if crossing.outbound or both else found
    return found


def _lifetime(scene: Scene, router: str, asked: Crossing) -> float:
    """Seconds of silence after which the NAT may forget, by its profile."""
    timeouts = scene.behaviour(router).timeouts
    if asked.packet.protocol == "udp":
        return timeouts.udp
    return timeouts.tcp_established


def _destroyed(
    scene: Scene, router: str, asked: Crossing, since_ns: int, until_ns: int
) -> FlowEvent | None:
    for flow in scene.flows(router) or ():
        ended = flow.change is Change.DESTROY and since_ns <= flow.time_ns <= until_ns
        if ended and flow.original[0] == asked.internal and flow.reply[1] == asked.external:
            return flow
    return None
