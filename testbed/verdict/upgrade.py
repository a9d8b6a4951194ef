"""Did a relayed connection go direct as libp2p's DCUtR says?  Packets beside the peers' steps.

What CONNECT and SYNC say is encrypted; what can be seen is that a payload went from one
peer through the relay to the other at the time at which both say that a message did.
The dialer is A of the specification (libp2p relay/DCUtR.md), the listener B.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import pairwise

from testbed.evidence.account import WireAccount
from testbed.evidence.clocks import SLACK_NS, STAMPED_NS
from testbed.model.breach import (
    BeforeRelayed,
    Breach,
    FirstNoise,
    NoPayload,
    NoRelayFirst,
    NotClient,
    NotCrossed,
    NothingLeft,
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
from testbed.model.contract import Connected, Event, How, Path, Step, Upgraded
from testbed.model.explanation import Journey
from testbed.model.outcome import StepName
from testbed.model.packet import RST, Endpoint, Packet
from testbed.model.plan import Plan
from testbed.verdict import handshake
from testbed.verdict.steps import last, leading_step

# What the relay may still carry each way once both have left it: last frames of Yamux and
# QUIC's acknowledgements.  An identify push (some 700 bytes) ends at the relay.
LEFTOVER = 600  # bytes
CITED = 3
REPEATED_NS = 10_000_000_000  # by when what got lost has been repeated, or was given up


def check_upgrade(account: WireAccount, dialer: str, listener: str) -> list[Breach]:
    """How a direct cell broke the protocol; empty if it did not."""
    a, b = (_side(account, node) for node in (dialer, listener))
    relay = a.relay(account.plan)
    if relay in (None, dialer, listener) or relay != b.relay(account.plan):
        return [NoRelayFirst()]
    upgraded = last(b.events, Upgraded)
    if upgraded is None or last(a.events, Upgraded) is None:
        return [UpgradeUntold()]
    wire = _Wire(account, relay)
    found = _relayed_first(wire, a, b)
    if account.plan.topology.by_chance:
        # What is late or repeated mixes the attempts of both ends: their order is not told.
        return [*found, *_left(wire, a, b)]
    if upgraded.how is How.PUNCHED:
        since = min(side.step(StepName.PUNCHING) or 0 for side in (a, b)) - STAMPED_NS
        found += [
            *_signalled(wire, a, b),
            *_crossed(wire, a, b, since),
            *_client(wire, a, b, since),
        ]
    else:
        found += _client(wire, b, a, 0)
    return [*found, *_left(wire, a, b)]


def check_relayed(account: WireAccount, dialer: str, listener: str) -> list[Breach]:
    """With upgrades off nothing may even be tried: a packet from peer to peer is a violation."""
    a, b = (_side(account, node) for node in (dialer, listener))
    tried = [*_sent(account, a, b), *_sent(account, b, a)]
    return [Tried(journey.first.sight) for journey in tried[:CITED]]


@dataclass(frozen=True)
class _Side:
    """One peer: where it is, by which addresses others know it, what it said."""

    node: str
    routers: tuple[str, ...]  # between it and the internet, the outermost first
    faces: frozenset[IPv4Address]
    events: tuple[Event, ...]
    clock_ns: int

    def step(self, name: StepName) -> int | None:
        """When the step of this name was that led to the upgrade, in capture time."""
        step = leading_step(self.events, name)
        return step.realtime if step else None

    def relay(self, plan: Plan) -> str | None:
        """Through whom it says that it was connected."""
        connected = last(self.events, Connected)
        if connected is None or connected.path is not Path.RELAYED:
            return None
        remote = connected.remote
        return plan.meant(Endpoint(remote.address, remote.port))

    def when(self, kind: type[Connected | Upgraded]) -> int:
        """Of its last event of this kind, in capture time; 0 if there is none.

        A step tells the time of both clocks, and of its own process.
        """
        event, step = last(self.events, kind), last(self.events, Step)
        offset = step.realtime - step.at if step else self.clock_ns
        return event.at + offset if event else 0


def _side(account: WireAccount, node: str) -> _Side:
    plan = account.plan
    routers = plan.topology.path_out(node)
    faces = {ip for name in plan.topology.around(node) for ip in plan.addresses[name]}
    own = tuple(event for name, event in account.events or () if name == node)
    outwards = tuple(router.name for router in reversed(routers))
    return _Side(node, outwards, frozenset(faces), own, account.clock_ns or 0)


def _sent(account: WireAccount, side: _Side, to: _Side) -> list[Journey]:
    """What left ``side`` towards the other peer."""
    sent = (j for j in account.sent(side.node) if j.first.destination.address in to.faces)
    return [j for j in sent if _concerns(account.plan, j.first.destination, to)]


def _concerns(plan: Plan, endpoint: Endpoint, side: _Side) -> bool:
    """An address of its NAT is another host's where the NAT forwards that port to it."""
    return plan.meant(endpoint) in (side.node, *side.routers)


@dataclass(frozen=True)
class _Wire:
    """What went between the peers, and through their relay."""

    account: WireAccount
    relay: str

    def sent(self, side: _Side, to: _Side) -> list[Journey]:
        """What left ``side`` towards the other peer, in order of time."""
        return _sent(self.account, side, to)

    def got(self, side: _Side, source: _Side) -> list[Journey]:
        """What reached ``side`` from the other peer, in order of its arrival."""
        came = (j for j in self.account.came(side.node) if j.last.source.address in source.faces)
        return [j for j in came if _concerns(self.account.plan, j.last.source, source)]

    def to_relay(self, side: _Side) -> list[Journey]:
        """Payloads of ``side`` that came to the relay."""
        return self._leg(side.node, self.relay)

    def from_relay(self, side: _Side) -> list[Journey]:
        """Payloads of the relay that came to ``side``."""
        return self._leg(self.relay, side.node)

    def _leg(self, node: str, to: str) -> list[Journey]:
        sent = self.account.sent(node)
        return [j for j in sent if j.first.payload and j.arrived and j.end.node == to]

    def carried(self, source: _Side, target: _Side, sent: int, received: int) -> bool:
        """Did the relay take in a payload of ``source`` and then give one to ``target``,

        the first sent at about ``sent``, the second there shortly before ``received``?
        The relay encrypts anew, so the two are tied by time: of what gets lost and is repeated,
        loosely.
        """
        slack = REPEATED_NS if self.account.plan.topology.by_chance else SLACK_NS
        taken = [
            j.last.time_ns
            for j in self.to_relay(source)
            if sent - slack <= j.first.time_ns <= received
        ]
        passed = [
            j.first.time_ns
            for j in self.from_relay(target)
            if received - slack <= j.last.time_ns <= received
        ]
        return any(0 <= out - into <= slack for into in taken for out in passed)


def _relayed_first(wire: _Wire, a: _Side, b: _Side) -> list[Breach]:
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


@dataclass(frozen=True)
class _Told:
    """A step that leads to a punch, and when a side tells of it; None: it does not."""

    side: _Side
    name: StepName
    time_ns: int | None

    @property
    def at(self) -> int:
        return self.time_ns or 0


def _signalled(wire: _Wire, a: _Side, b: _Side) -> list[Breach]:
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


def _crossed(wire: _Wire, a: _Side, b: _Side, since: int) -> list[Breach]:
    """Each NAT had let its own peer's packet out before the other's came in.

    What goes from peer to peer need not leave a NAT that both are behind: it turns back inside.
    Of each side, the outermost is meant that the other is not behind.  Where there is none, the
    peer must have sent, and nothing is opened by it.  A RST comes in answer to a packet of one's
    own, and crosses nothing.
    """
    found: list[Breach] = []
    for side, other in ((a, b), (b, a)):
        router = next((name for name in side.routers if name not in other.routers), None)
        node = wire.account.plan.topology.node(router or side.node)
        vantage = f"{node.name}:{node.interfaces[0].name}"
        left = (_left_by(router, journey) for journey in wire.sent(side, other))
        out = next((p for p in left if p is not None and p.time_ns >= since), None)
        came = (journey.last for journey in wire.got(side, other))
        entered = next((p for p in came if p.time_ns >= since and not p.tcp_flags & RST), None)
        if out is None:
            found.append(NothingLeft(side.node, other.node, vantage))
        elif router and entered is not None and entered.time_ns < out.time_ns:
            found.append(NotCrossed(side.node, vantage, entered.sight, out.sight))
    return found


def _client(wire: _Wire, client: _Side, server: _Side, since: int) -> list[Breach]:
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


def _left(wire: _Wire, a: _Side, b: _Side) -> list[Breach]:
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


def _left_by(router: str | None, journey: Journey) -> Packet | None:
    """As it left ``router``, or its host where that is None; None: it is not seen there."""
    if router is None:
        return journey.first
    hop = journey.at(router)
    return hop.outward if hop else None
