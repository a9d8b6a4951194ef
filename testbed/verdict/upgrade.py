"""Did a relayed connection go direct as libp2p's DCUtR says?  Packets beside the peers' steps.

What CONNECT and SYNC say is encrypted; what can be seen is that a payload went from one
peer through the relay to the other at the time at which both say that a message did.
The dialer is A of the specification (libp2p relay/DCUtR.md), the listener B.
"""

from itertools import pairwise

from testbed.evidence.account import WireAccount
from testbed.model.breach import (
    BeforeRelayed,
    Breach,
    BreachKind,
    FirstNoise,
    NoPayload,
    NoRelayFirst,
    NotClient,
    OwnInitial,
    PunchedEarly,
    RelayedUnseen,
    RelayKept,
    RelayUsed,
    StepMissing,
    StepsSwapped,
    StepUnseen,
    Tried,
    UpgradeUntold,
)
from testbed.model.contract import Connected, How, Upgraded
from testbed.model.deviation import ENDS, Pattern
from testbed.model.frozen import FrozenValue
from testbed.model.outcome import StepName
from testbed.model.packet import ACK
from testbed.verdict import handshake
from testbed.verdict.crossing import crossings, not_crossed, punched_since
from testbed.verdict.steps import last
from testbed.verdict.upgrade_ends import Side, Wire, sent_by, side_of

# What the relay may still carry each way once both have left it: last frames of Yamux and
# QUIC's acknowledgements.  An identify push (some 700 bytes) ends at the relay.
LEFTOVER = 600  # bytes
CITED = 3
UNTOLD_BY_CHANCE = frozenset(
    Pattern(kind=kind)
    for kind in (
        BreachKind.STEP_MISSING,
        BreachKind.STEPS_SWAPPED,
        BreachKind.PUNCHED_EARLY,
        BreachKind.STEP_UNSEEN,
        BreachKind.NOTHING_LEFT,
        BreachKind.NOT_CROSSED,
        BreachKind.NOT_CLIENT,
        BreachKind.OWN_INITIAL,
    )
)


def check_upgrade(account: WireAccount, dialer: str, listener: str) -> list[Breach]:
    """How a direct cell broke the protocol; empty if it did not."""
    a, b = (side_of(account, node) for node in (dialer, listener))
    relay = a.relay(account.plan)
    if relay in (None, dialer, listener) or relay != b.relay(account.plan):
        return [NoRelayFirst()]
    upgraded = last(b.events, Upgraded)
    if upgraded is None or last(a.events, Upgraded) is None:
        return [UpgradeUntold()]
    wire = Wire(account, relay)
    found = _relayed_first(wire, a, b)
    if account.plan.topology.by_chance:
        # What is late or repeated mixes the attempts of both ends: their order is not told, and
        # none of `UNTOLD_BY_CHANCE` is looked for.
        return [*found, *_left(wire, a, b)]
    if upgraded.how is How.PUNCHED:
        since = punched_since(a, b)
        found += [
            *_signalled(wire, a, b),
            *not_crossed(crossings(wire, a, b, since)),
            *_client(wire, a, b, since),
        ]
    elif upgraded.how is How.DIRECT:
        found += _client(wire, a, b, 0)
    else:
        found += _client(wire, b, a, 0)
    return [*found, *_left(wire, a, b)]


def untold(account: WireAccount, dialer: str, listener: str) -> frozenset[Pattern]:
    """The breaches that this run cannot show, whether the peers commit them or not.

    A SYN that comes in early is answered by the kernel at about the moment at which a punch was
    due: whether this peer would have sent one by itself is not seen.  What the other peer did is.
    """
    if account.plan.topology.by_chance:
        return UNTOLD_BY_CHANCE
    a, b = (side_of(account, node) for node in (dialer, listener))
    upgraded, relay = last(b.events, Upgraded), a.relay(account.plan)
    if upgraded is None or upgraded.how is not How.PUNCHED or relay is None:
        return frozenset()
    found = crossings(Wire(account, relay), a, b, punched_since(a, b))
    return frozenset(
        Pattern(kind=BreachKind.NOT_CROSSED, role=role)
        for role, one in zip(ENDS, found, strict=True)
        if one.in_time and one.out and one.out.tcp_flags & ACK
    )


def check_relayed(account: WireAccount, dialer: str, listener: str) -> list[Breach]:
    """With upgrades off nothing may even be tried: a packet from peer to peer is a violation."""
    a, b = (side_of(account, node) for node in (dialer, listener))
    tried = [*sent_by(account, a, b), *sent_by(account, b, a)]
    return [Tried(journey.first.sight) for journey in tried[:CITED]]


def _relayed_first(wire: Wire, a: Side, b: Side) -> list[Breach]:
    """Payload went both ways through the relay before any went from peer to peer."""
    direct = (*wire.sent(a, b), *wire.sent(b, a))
    payloads = [journey.first for journey in direct if journey.first.payload]
    if not payloads:
        return [NoPayload()]
    first = min(payloads, key=lambda packet: packet.time_ns)
    found: list[Breach] = []
    for source, target in ((a, b), (b, a)):
        there = target.when(Connected)
        if there > first.time_ns:
            found.append(BeforeRelayed(target.node, first.sight))
        if not wire.carried(source, target, 0, there):  # the way to the relay may be long
            found.append(RelayedUnseen(source.node, target.node, wire.relay))
    return found


class _Told(FrozenValue):
    """A step that leads to a punch, and when a side tells of it; None: it does not."""

    side: Side
    name: StepName
    time_ns: int | None

    @property
    def at(self) -> int:
        return self.time_ns or 0


def _signalled(wire: Wire, a: Side, b: Side) -> list[Breach]:
    """CONNECT of B, CONNECT of A, SYNC of B, then the punch: in order, each on the wire."""
    order = (
        (b, StepName.CONNECT_SENT),
        (a, StepName.CONNECT_RECEIVED),
        (a, StepName.CONNECT_SENT),
        (b, StepName.CONNECT_RECEIVED),
        (b, StepName.SYNC_SENT),
        (a, StepName.SYNC_RECEIVED),
    )
    told = [_Told(side, name, side.step(name)) for side, name in order]
    missing = [one for one in told if not one.time_ns]
    if missing:
        return [StepMissing(one.side.node, one.name) for one in missing]
    found: list[Breach] = [
        StepsSwapped(later.side.node, later.name, first.side.node, first.name)
        for first, later in pairwise(told)
        if later.at < first.at
    ]
    punching = [(side, side.step(StepName.PUNCHING), told[at]) for side, at in ((a, 5), (b, 4))]
    found += [
        PunchedEarly(side.node, due.name)
        for side, time, due in punching
        if time is None or time < due.at
    ]
    for sent, received in ((told[0], told[1]), (told[2], told[3]), (told[4], told[5])):
        if not wire.carried(sent.side, received.side, sent.at, received.at):
            found.append(StepUnseen(sent.side.node, sent.name, wire.relay))
    return found


def _client(wire: Wire, client: Side, server: Side, since: int) -> list[Breach]:
    """The security handshake's first message is the client's.

    What was before ``since`` belongs to dials that failed, and what comes once both say that
    they are connected to attempts that are needed no more.
    """
    upgraded = last(client.events, Upgraded)
    assert upgraded is not None  # else `check_upgrade` has said so
    ends = {upgraded.local.pair, upgraded.remote.pair}
    until = max(side.when(Upgraded) for side in (client, server))
    seen = [
        *(journey.first for journey in wire.sent(client, server)),
        *(journey.last for journey in wire.got(client, server)),
    ]
    here = [
        p
        for p in sorted(seen, key=lambda packet: packet.time_ns)
        if since <= p.time_ns <= until
        and {(str(e.address), e.port) for e in (p.source, p.destination)} == ends
    ]
    mine, theirs = ([p for p in here if p.outgoing is out] for out in (True, False))
    if here and here[0].protocol == "tcp":
        first, second = handshake.first_noise_length(mine), handshake.first_noise_length(theirs)
        if first != handshake.NOISE_FIRST or second is None or second <= handshake.NOISE_FIRST:
            return [NotClient(client.node, server.node, FirstNoise(first, second))]
        return []
    initials, answers = handshake.quic_initials(mine), handshake.quic_initials(theirs)
    wrong = handshake.unsolicited(answers, initials)
    if not initials and not wrong:
        return [NotClient(client.node, server.node)]
    return [OwnInitial(server.node, one.packet.sight) for one in wrong[:CITED]]


def _left(wire: Wire, a: Side, b: Side) -> list[Breach]:
    """Both closed the relayed connection, and nothing of weight was carried after that."""
    times = [side.step(StepName.RELAY_LEFT) for side in (a, b)]
    missing = [s.node for s, time in zip((a, b), times, strict=True) if time is None]
    if missing:
        return [RelayKept(missing[0], missing[1] if len(missing) > 1 else None)]
    since = max(time or 0 for time in times)
    found: list[Breach] = []
    for source, target in ((a, b), (b, a)):
        into = [j.first for j in wire.to_relay(source)]
        out = [j.last for j in wire.from_relay(target)]
        volume = min(sum(len(p.payload) for p in ps if p.time_ns > since) for ps in (into, out))
        if volume > LEFTOVER:
            found.append(RelayUsed(source.node, target.node, wire.relay, volume))
    return found
