"""Direct Connection Upgrade through Relay (libp2p relay/DCUtR.md), as the lab's stack does it.

The dialer A reaches the listener B over the relay; B leads.  B dials the public
addresses that A advertises (connection reversal), and meanwhile begins what it does up to
three times: CONNECT, CONNECT, SYNC over the relay, the last unless a dial has been answered by
then and comes through; A dials the addresses that B signalled the
moment SYNC is there, B moves half the relayed round trip after it was sent: over
TCP it dials too, over QUIC it only sends random datagrams from its socket.

Addresses are learnt from a relay and from observers, hosts called ``observer-...``.
What one of them saw may be signalled, what four saw is advertised.  A setting's
skew is not used: the protocol makes its own.

Where packets get lost, all that takes a round trip counts, since each has its deadline: the
handshakes with the public nodes and over the relay, identify, and the secured connection that
both ends must have before they stop waiting for it.
"""

from testbed.model.behaviour import Protocol
from testbed.model.outcome import Outcome, Rung
from testbed.model.reason import (
    Climbed,
    Lost,
    Passed,
    Silence,
    Unobserved,
    Unrelayed,
    UpgradesOff,
    WayLost,
)
from testbed.model.technique import Relaying
from testbed.model.trace import OfLength
from testbed.predict.dcutr_peer import (
    DIALER_HAS,
    INTRODUCED,
    LISTENER_HAS,
    PUNCHING,
    RESERVED,
    SIGNALLING,
    Peer,
)
from testbed.predict.model import Model, Result, Setting
from testbed.predict.public import (
    CIRCUIT,
    RESERVE,
    Carrier,
    Observer,
    Relay,
)
from testbed.predict.quic import Quic
from testbed.predict.tcp import Tcp

ADVERTISED_BY = 4  # observers that must agree before an address is advertised
CIRCUIT_PATIENCE = 4.0  # seconds from the start, at both ends
RESERVE_PATIENCE = 10.0  # seconds
INTRODUCTION = 10.0  # seconds that B waits for what A is, before it leads
ATTEMPTS = 3


def dcutr_tcp(setting: Setting) -> Result:
    """Everything over TCP."""
    return _run(setting, Protocol.TCP)


def dcutr_quic(setting: Setting) -> Result:
    """Everything over QUIC."""
    return _run(setting, Protocol.UDP)


def dcutr_off(setting: Setting) -> Result:
    """Upgrades switched off, over TCP: the control that must stay relayed."""
    return _run(setting, Protocol.TCP, upgrades=False)


def dcutr_quic_off(setting: Setting) -> Result:
    """Upgrades switched off, over QUIC."""
    return _run(setting, Protocol.UDP, upgrades=False)


def _run(setting: Setting, protocol: Protocol, *, upgrades: bool = True) -> Result:
    network = setting.network
    a, b = _meet(setting, protocol)
    if failure := unmet(setting, a, b):
        return Result(Outcome.NONE, failure)
    if network.chancy and (failure := _uncircuited(setting, a, b)):
        return Result(Outcome.NONE, failure)
    if not upgrades:
        return Result(Outcome.RELAYED, UpgradesOff())
    if network.chancy:
        network.run(network.now + INTRODUCTION, lambda: b.steps >= INTRODUCED)

    def upgraded() -> bool:
        return a.direct and b.direct

    if advertised := a.addresses(ADVERTISED_BY):
        b.reverse(advertised)
    for attempt in range(1, ATTEMPTS + 1):
        b.lead()
        limit = network.now + SIGNALLING + PUNCHING
        network.run(limit, lambda: upgraded() or network.now >= b.until)
        if upgraded() and not b.synced:
            return Result(Outcome.DIRECT, Climbed(Rung.REVERSED, why(a, b)))
        if upgraded():
            return Result(Outcome.DIRECT, Climbed(Rung.PUNCHED, why(a, b), attempt))
    return Result(Outcome.RELAYED, why_not(setting, a, b, both_dial=protocol is Protocol.TCP))


def _meet(setting: Setting, protocol: Protocol) -> tuple[Peer, Peer]:
    """The public nodes and the peers, all that can be reached connected."""
    network = setting.network

    def carrier(host: str) -> Carrier:
        if protocol is Protocol.TCP:
            return Tcp(network, host)
        return Quic(network, host, setting.port(host), setting.opening(host))

    observers = [n for n in network.topology.observers if n not in setting.hosts]
    Relay(carrier(setting.server), setting.port(setting.server), asked=network.chancy)
    for name in observers:
        Observer(carrier(name), setting.port(name), asked=network.chancy)
    a = Peer(network, setting.dialer, carrier(setting.dialer), leads=False, extra=setting.extra)
    b = Peer(network, setting.listener, carrier(setting.listener), leads=True, extra=setting.extra)
    for peer in (a, b):
        peer.meet(setting.server, observers)
    limit = network.now + a.waits * (2 if network.chancy else 1)
    network.run(limit, lambda: a.met and b.met)
    return a, b


def _uncircuited(setting: Setting, a: Peer, b: Peer) -> Unrelayed | None:
    """Who was not connected over the relay in time, where packets get lost; None: both were.

    A peer that misses any public node gives up before it dials.
    """
    network = setting.network
    late = [peer for peer in (a, b) if peer.late or not peer.met]
    if not late:
        b.approach(RESERVE)
        network.run(network.now + RESERVE_PATIENCE, lambda: b.steps >= RESERVED)
        end = network.now + CIRCUIT_PATIENCE + setting.extra
        b.steps = 0
        a.approach(CIRCUIT)
        network.run(end, lambda: b.steps >= LISTENER_HAS)
        late = [p for p, has in ((a, DIALER_HAS), (b, LISTENER_HAS)) if p.steps < has]
    if late:
        return Unrelayed(tuple((peer.local.address, None) for peer in late))
    return None


def unmet(setting: Setting, a: Peer, b: Peer) -> Unrelayed | Unobserved | None:
    """Which public nodes the peers do not reach, and why; None if both reach all.

    Each stack ends its gathering then, also if it is an observer alone: it has not learnt what it
    was told to learn.
    """
    lost, relay = setting.network.lost, a.way_to(setting.server)
    hosts = [peer.local.address for peer in (a, b) if peer.relay.observed is None]
    if hosts:
        return Unrelayed(tuple((host, lost.get((host, relay))) for host in hosts))
    for peer in (a, b):
        for node in peer.missed[:1]:
            host = peer.local.address
            return Unobserved(host, node, lost.get((host, peer.way_to(node))))
    return None


def why(a: Peer, b: Peer) -> Passed:
    """What let the connection's opening in, as told at the end that accepted it."""
    opened = [peer.via for peer in (a, b) if peer.via is not None]
    opened.sort(key=lambda via: via[0].active)
    packet = opened[0][1]
    return Passed(packet.origin, packet.notes)


def why_not(setting: Setting, a: Peer, b: Peer, *, both_dial: bool) -> Lost:
    """Why nothing came through, from the last loss of each end that dials.

    Of who only answers, too, where its packets are too long.
    """
    lost = setting.network.lost
    ways: list[WayLost] = []
    for peer, other in ((a, b), (b, a)):
        host = peer.local.address
        losses = [(t, lost[host, t]) for t in other.addresses(1) if (host, t) in lost]
        if not (both_dial or peer is a):
            losses = [one for one in losses if isinstance(one[1].drop, OfLength)]
        ways += [WayLost(host, target, why) for target, why in losses[:1]]
    return Lost(tuple(ways), Silence.NO_OPENING, ATTEMPTS)


_BY = Relaying.CIRCUIT
DCUTR_TCP = Model(name="dcutr_tcp", protocol="tcp", relaying=_BY, run=dcutr_tcp, patient=True)
DCUTR_QUIC = Model(name="dcutr_quic", protocol="udp", relaying=_BY, run=dcutr_quic, patient=True)
DCUTR_OFF = Model(name="dcutr_off", protocol="tcp", relaying=_BY, run=dcutr_off, patient=True)
DCUTR_QUIC_OFF = Model(
    name="dcutr_quic_off", protocol="udp", relaying=_BY, run=dcutr_quic_off, patient=True
)
