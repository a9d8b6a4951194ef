"""Packets that the far side's NAT did not let in: which hole was missing, and why."""

from dataclasses import replace

from testbed.explain.causes.finding import Finding, line, mapped, unknown
from testbed.explain.causes.mapping import misled, timed_out
from testbed.explain.leases import Lease
from testbed.explain.scene import Crossing, Scene
from testbed.explain.sides import Side
from testbed.model.explanation import Cause
from testbed.model.frozen import FrozenValue
from testbed.model.journey import Fate, Journey
from testbed.model.packet import RST, Endpoint, Packet
from testbed.model.statement import At, Both, Statement, Stop, filters


class _Knock(FrozenValue):
    """One packet of ``source`` that ``target``'s router did not let in."""

    scene: Scene
    source: Side
    target: Side
    journey: Journey

    @property
    def router(self) -> str:
        return self.journey.end.node

    @property
    def packet(self) -> Packet:
        packet = self.journey.end.inward
        assert packet is not None  # it came from outside
        return packet

    @property
    def contacts(self) -> list[Crossing]:
        """What the target sent out there towards where the source's packets come from."""
        passed = self.scene.outbound(self.router, self.packet.protocol)
        address = self.packet.source.address
        return [
            c
            for c in passed
            if c.remote.address == address
            and c.journey.sender == self.target.node
            and c.journey.first.source.address in self.target.own
        ]

    @property
    def stop(self) -> Stop:
        """What the router did."""
        answer = self.journey.end.answer
        if answer is not None:
            return Stop.RESET if answer.tcp_flags & RST else Stop.ICMP
        return Stop.TAKEN if self.journey.end.fate is Fate.TAKEN else Stop.DROPPED

    def at(self, place: Endpoint | str) -> filters.Knocked:
        """The packet came to ``place``, and was stopped."""
        packet = self.packet
        return filters.Knocked(
            self.source.node,
            packet.source,
            place,
            self.scene.ms(packet),
            self.router,
            self.stop,
        )


def why(scene: Scene, source: Side, target: Side, journeys: list[Journey]) -> Finding:
    """Why ``journeys`` of ``source`` ended outside ``target``'s router; there is at least one."""
    firsts, lasts = (
        [_Knock(scene, source, target, journey) for journey in _kinds(some)]
        for some in (journeys[::-1], journeys)
    )
    for knock in lasts:
        if lacking := scene.whole.unsure(knock.journey.end):
            return unknown(filters.NotSeenInside(source.node, knock.router), *lacking)
    # Of those that came before the hole, the last was the nearest.
    for look, knocks in ((_opened, lasts), (_mapped_apart, firsts)):
        for knock in knocks:
            if finding := look(knock):
                return finding
    return _uninvited(firsts[0])


def _kinds(journeys: list[Journey]) -> list[Journey]:
    """The last of each kind, by where it came from and where it went."""
    kinds: dict[tuple[str, Endpoint, Endpoint], Journey] = {}
    for journey in journeys:
        if journey.end.inward:
            ends = (journey.end.inward.source, journey.end.inward.destination)
            kinds[journey.end.node, *ends] = journey
    return sorted(kinds.values(), key=lambda journey: journey.first.time_ns)


# -- the hole was there once, or later ----------------------------------------


def _opened(knock: _Knock) -> Finding | None:
    """The target's own packet went from that very endpoint to that source."""
    ends = (knock.packet.destination, knock.packet.source)
    holes = [c for c in knock.contacts if (c.external, c.remote) == ends]
    before = [c for c in holes if c.time_ns < knock.packet.time_ns]
    if before:
        return _closed_again(knock, before[-1])
    return _too_early(knock, holes[0]) if holes else None


def _too_early(knock: _Knock, hole: Crossing) -> Finding:
    late = (hole.time_ns - knock.packet.time_ns) / 1e6
    scene, packet, target = knock.scene, knock.packet, knock.target.node
    answer, router = knock.journey.end.answer, knock.router
    opened = filters.OwnLeft(target, hole.remote, router, scene.ms(hole.packet))
    lines = (line(knock.at(router), packet, answer), mapped(hole, opened))
    cause = Cause.FILTER_NOT_OPEN_YET
    headline: Statement = filters.NotOpenYet(router, packet.source, target, late)
    if packet.protocol == "tcp" and answer is not None:
        reset = knock.stop is Stop.RESET
        cause = Cause.EARLY_SYN_RESET if reset else Cause.EARLY_PACKET_REJECTED
        headline = filters.SynEarly(knock.source.node, router, late, target, knock.stop)
    shown = tuple(p for p in (packet, answer, hole.packet) if p)
    return Finding(cause, router, headline, lines, shown)


def _closed_again(knock: _Knock, hole: Crossing) -> Finding:
    """The hole had been opened, and yet the packet was stopped."""
    scene, packet, router = knock.scene, knock.packet, knock.router
    reset = _reset_between(knock, hole)
    if reset is not None:
        attempt = filters.AttemptReset(knock.target.node, hole.remote, router)
        return Finding(
            Cause.EARLY_SYN_RESET,
            router,
            filters.FoundClosed(attempt, knock.source.node, router),
            (mapped(reset, attempt), line(filters.Stopped(router, knock.stop), packet)),
            (reset.packet, packet),
        )
    again = replace(hole, hop=replace(hole.hop, inward=packet, outward=packet))
    if finding := timed_out(scene, router, hole, again):
        return finding
    out = filters.LetOut(
        router,
        knock.target.node,
        hole.external,
        hole.remote,
        scene.ms(hole.packet),
        knock.stop,
    )
    return Finding(
        Cause.FILTER_CLOSED,
        router,
        filters.ClosedAgain(router, packet.source, hole.external),
        (line(out, hole.packet, packet),),
        (hole.packet, packet),
    )


def _reset_between(knock: _Knock, hole: Crossing) -> Crossing | None:
    """A RST for the flow that came in after ``hole`` had been opened."""
    for crossing in knock.scene.crossings.get(knock.router, ()):
        if not hole.time_ns < crossing.time_ns < knock.packet.time_ns:
            continue
        same = (crossing.external, crossing.remote) == (hole.external, hole.remote)
        if same and not crossing.outbound and crossing.packet.tcp_flags & RST:
            return crossing
    return None


# -- the hole is elsewhere -----------------------------------------------------


def _mapped_apart(knock: _Knock) -> Finding | None:
    """The target opened a hole, but for another source, or at another endpoint."""
    contacts = knock.contacts
    if not contacts:
        return None
    source, at = knock.packet.source, knock.packet.destination
    for contact in contacts:
        if contact.remote == source:  # from elsewhere: what it told is not where it sends from
            return _stopped_by(knock, misled(*_of_target(knock, contact)), contact)
    for contact in contacts:
        if contact.external == at:  # to elsewhere: we do not come from where we said
            return _stopped_by(knock, misled(*_of_source(knock, contact)), contact)
    contact = contacts[0]
    ours, theirs = misled(*_of_source(knock, contact)), misled(*_of_target(knock, contact))
    if ours.cause is Cause.UNKNOWN or theirs.cause is Cause.UNKNOWN:
        return _stopped_by(knock, ours if ours.cause is Cause.UNKNOWN else theirs, contact)
    both = replace(
        ours,
        headline=Both(ours.headline, theirs.headline),
        lines=(*ours.lines, *theirs.lines),
        decisive=(*ours.decisive, *theirs.decisive),
    )
    return _stopped_by(knock, both, contact)


def _of_source(knock: _Knock, contact: Crossing) -> tuple[Scene, Side, Endpoint, Journey]:
    return knock.scene, knock.source, contact.journey.first.destination, knock.journey


def _of_target(knock: _Knock, contact: Crossing) -> tuple[Scene, Side, Endpoint, Journey]:
    return knock.scene, knock.target, knock.journey.first.destination, contact.journey


def _stopped_by(knock: _Knock, finding: Finding, contact: Crossing) -> Finding:
    """The same with what came of it: the hole that there was, and the packet that missed it."""
    if finding.cause is Cause.UNKNOWN:
        return finding
    hole = filters.Opens(knock.target.node, contact.remote, contact.external, knock.router)
    knocked = knock.at(knock.packet.destination)
    told = {cite.number for one in finding.lines for cite in one.cites}
    opened = () if contact.packet.number in told else (mapped(contact, hole),)
    lines = (*finding.lines, *opened, line(knocked, knock.packet, knock.journey.end.answer))
    return replace(finding, lines=lines, decisive=(*finding.decisive, knock.packet))


def _uninvited(knock: _Knock) -> Finding:
    """Nobody inside had sent to any face of the source."""
    scene, packet = knock.scene, knock.packet
    lease = scene.leased(knock.router, packet.destination.port, packet.time_ns)
    if lease is not None and lease.ended(packet.time_ns):
        return _run_out(knock, lease)
    if lacking := scene.whole.absent(knock.target.node, *knock.target.routers):
        return unknown(filters.NotLetIn(knock.router, knock.source.node), *lacking)
    return Finding(
        Cause.FILTER_CLOSED,
        knock.router,
        filters.Uninvited(knock.router, packet.source),
        (line(knock.at(packet.destination), packet, knock.journey.end.answer),),
        (packet,),
    )


def _run_out(knock: _Knock, lease: Lease) -> Finding:
    """The port had been given to somebody inside, for a time."""
    over = (knock.packet.time_ns - lease.packet.time_ns) / 1e9 - lease.seconds
    given = filters.LeaseGiven(knock.router, lease.external_port, lease.seconds)
    return Finding(
        Cause.LEASE_EXPIRED,
        knock.router,
        filters.LeaseOver(given, knock.source.node, over),
        (
            line(At(given, knock.scene.ms(lease.packet)), lease.packet),
            line(filters.Stopped(knock.router, knock.stop), knock.packet, knock.journey.end.answer),
        ),
        (lease.packet, knock.packet),
    )
