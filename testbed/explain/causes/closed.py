"""Packets that the far side's NAT did not let in: which hole was missing, and why."""

from dataclasses import dataclass, replace

from testbed.explain.causes.finding import Finding, line, mapped, unknown
from testbed.explain.causes.mapping import misled, timed_out
from testbed.explain.leases import Lease
from testbed.explain.scene import Crossing, Scene
from testbed.explain.sides import Side
from testbed.model.explanation import Cause, Fate, Journey
from testbed.model.packet import RST, Endpoint, Packet


@dataclass(frozen=True)
class _Knock:
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
    def refusal(self) -> str:
        """What the router did, in words."""
        answer = self.journey.end.answer
        if answer is not None:
            return "answered it with " + ("a RST" if answer.tcp_flags & RST else "an ICMP error")
        return "took it itself" if self.journey.end.fate is Fate.TAKEN else "dropped it"


def why(scene: Scene, source: Side, target: Side, journeys: list[Journey]) -> Finding:
    """Why ``journeys`` of ``source`` ended outside ``target``'s router; there is at least one."""
    firsts, lasts = (
        [_Knock(scene, source, target, journey) for journey in _kinds(some)]
        for some in (journeys[::-1], journeys)
    )
    for knock in lasts:
        if lacking := scene.whole.unsure(knock.journey.end):
            return unknown(
                f"{source.node}'s packets came to {knock.router} and are not seen inside", *lacking
            )
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
    answer = knock.journey.end.answer
    came = (
        f"{knock.source.node}'s packet from {packet.source} came to {knock.router} at "
        f"{scene.ms(packet)}; {knock.router} {knock.refusal}"
    )
    opened = (
        f"{target}'s own packet to {hole.remote} left {knock.router} at {scene.ms(hole.packet)}"
    )
    lines = (line(came, packet, answer), mapped(hole, opened))
    cause, headline = (
        Cause.FILTER_NOT_OPEN_YET,
        (
            f"{knock.router} was not open for {packet.source} yet: "
            f"{target}'s own packet left it {late:.1f} ms later"
        ),
    )
    if packet.protocol == "tcp" and answer is not None:
        reset = bool(answer.tcp_flags & RST)
        cause = Cause.EARLY_SYN_RESET if reset else Cause.EARLY_PACKET_REJECTED
        headline = (
            f"{knock.source.node}'s SYN came to {knock.router} {late:.1f} ms before {target}'s "
            f"own left it, and was answered with {'a RST' if reset else 'an ICMP error'}"
        )
    shown = tuple(p for p in (packet, answer, hole.packet) if p)
    return Finding(cause, knock.router, headline, lines, shown)


def _closed_again(knock: _Knock, hole: Crossing) -> Finding:
    """The hole had been opened, and yet the packet was stopped."""
    scene, packet, router = knock.scene, knock.packet, knock.router
    reset = _reset_between(knock, hole)
    if reset is not None:
        words = (
            f"{knock.target.node}'s connection attempt to {hole.remote} was answered with a RST, "
            f"which {router} took for its end"
        )
        return Finding(
            Cause.EARLY_SYN_RESET,
            router,
            f"{words}: {knock.source.node}'s SYN found {router} closed",
            (mapped(reset, words), line(f"{router} {knock.refusal}", packet)),
            (reset.packet, packet),
        )
    again = replace(hole, hop=replace(hole.hop, inward=packet, outward=packet))
    if finding := timed_out(scene, router, hole, again):
        return finding
    words = (
        f"{router} let {knock.target.node} out from {hole.external} to {hole.remote} at "
        f"{scene.ms(hole.packet)}, and {knock.refusal} when it was answered"
    )
    return Finding(
        Cause.FILTER_CLOSED,
        router,
        f"{router} is closed for {packet.source}, to whom {hole.external} has sent",
        (line(words, hole.packet, packet),),
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
        headline=f"{ours.headline}; and {theirs.headline}",
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
    hole = (
        f"{knock.target.node} sends to {contact.remote}: "
        f"that opens {contact.external} at {knock.router} for it"
    )
    knocked = (
        f"{knock.source.node}'s packet from {knock.packet.source} came to "
        f"{knock.packet.destination} at {knock.scene.ms(knock.packet)}; "
        f"{knock.router} {knock.refusal}"
    )
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
        return unknown(f"{knock.router} did not let {knock.source.node} in", *lacking)
    words = (
        f"{knock.source.node}'s packet from {packet.source} came to {packet.destination} at "
        f"{scene.ms(packet)}; {knock.router} {knock.refusal}"
    )
    return Finding(
        Cause.FILTER_CLOSED,
        knock.router,
        f"{knock.router} lets in only whom somebody inside has sent to, "
        f"and nobody had sent to {packet.source}",
        (line(words, packet, knock.journey.end.answer),),
        (packet,),
    )


def _run_out(knock: _Knock, lease: Lease) -> Finding:
    """The port had been given to somebody inside, for a time."""
    over = (knock.packet.time_ns - lease.packet.time_ns) / 1e9 - lease.seconds
    given = f"{knock.router} gave its port {lease.external_port} for {lease.seconds} s"
    return Finding(
        Cause.LEASE_EXPIRED,
        knock.router,
        f"{given}, and {knock.source.node}'s packet came {over:.1f} s after that",
        (
            line(f"{given}, at {knock.scene.ms(lease.packet)}", lease.packet),
            line(f"{knock.router} {knock.refusal}", knock.packet, knock.journey.end.answer),
        ),
        (lease.packet, knock.packet),
    )
