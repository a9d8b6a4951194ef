"""The lab's own traversal programs: plain dial and hole punching, UDP and TCP.

Each is what the lab's peer does, at the same times; both ends and the server run
in one `Network`.
"""

from testbed.model.behaviour import Protocol
from testbed.model.outcome import Outcome
from testbed.model.reason import Lost, NobodySends, Passed, Silence, Unlearned, WayLost
from testbed.model.trace import Place
from testbed.predict import stun
from testbed.predict.model import Model, Result, Setting
from testbed.predict.network import Network
from testbed.predict.packet import Message, Packet
from testbed.predict.stun import send_udp
from testbed.predict.tcp import Connection, Program, Tcp

FRESH_PORT = 40001  # of a socket that nobody was told of
PROBE_EVERY = 0.05  # seconds
UDP_DEADLINE = 3.0
TCP_ROUND = 1.0
TCP_DEADLINE = 4.0
TCP_PATIENCE = 4.0  # seconds that learning may take, where packets get lost
PROBE = "probe"
ACK = "probe ACK"
NONCE = "nonce"
SELECT = "select"  # the dialer's choice of a connection, where packets get lost
SELECTED = "selected"


class UdpPeer:
    """A UDP socket that learns its address, then probes and answers probes.

    It is deaf to probes until it begins.  An ACK counts if it comes from where its
    probe went.
    """

    def __init__(self, network: Network, host: str, port: int) -> None:
        self._network = network
        self.local = Place(host, port)
        self.observed: Place | None = None
        self.via: Packet | None = None  # the ACK that connected us
        self._targets: list[Place] = []
        self._probes: list[Place] = []  # by transaction: where it went
        self._begins = self._ends = float("inf")
        network.bind(host, Protocol.UDP, port, self._receive)

    @property
    def connected(self) -> bool:
        return self.via is not None

    def learn(self, server: str) -> None:
        stun.ask(self._network, self.local, server, lambda: self.observed is not None)

    def punch(self, target: Place | None, start: float) -> None:
        """From ``start`` on, probe ``target``, and whoever probes us, every 50 ms."""
        self._begins, self._ends = start, start + UDP_DEADLINE
        if target is not None:
            self._targets.append(target)
        for count in range(round(UDP_DEADLINE / PROBE_EVERY)):
            self._network.at(start + count * PROBE_EVERY, self._probe)

    def _probe(self) -> None:
        for target in self._targets:
            message = Message(PROBE, transaction=len(self._probes))
            self._probes.append(target)
            send_udp(self._network, self.local, target, message)

    def _receive(self, packet: Packet) -> None:
        message, source = packet.message, packet.source
        if message is None:
            return
        if message.name == stun.RESPONSE:
            self.observed = message.endpoint
        elif message.name == PROBE and self._network.now >= self._begins:
            if source not in self._targets:
                self._targets.append(source)
            ack = Message(ACK, transaction=message.transaction)
            send_udp(self._network, self.local, source, ack)
        elif message.name == ACK and self._expects(message.transaction, source):
            self.via = self.via or packet

    def _expects(self, transaction: int, source: Place) -> bool:
        return self._network.now <= self._ends and self._probes[transaction] == source


class TcpPeer(Program):
    """Listens on a port, connects from it, and proves each connection by a nonce.

    Where packets get lost, it counts when the choice of one is told, which ``selects`` makes.
    """

    def __init__(self, network: Network, host: str, port: int, *, selects: bool) -> None:
        self._network = network
        self._selects = selects
        self._selected = False
        self.tcp = Tcp(network, host)
        self._port = port
        self._query = stun.TcpQuery(self.tcp)
        self._refused: set[Place] = set()
        self.via: Packet | None = None
        self.connected = False
        self.tcp.listen(port, self)

    @property
    def observed(self) -> Place | None:
        return self._query.observed

    def learn(self, server: str) -> None:
        there = self._network.entrance(server, Protocol.TCP, stun.PORT)
        self.tcp.connect(self._port, there, self._query)

    def dial(self, port: int, target: Place, start: float) -> None:
        """Connect at ``start``; after a refusal again at the next full round."""
        self._network.at(start, lambda: self.tcp.connect(port, target, self))
        for count in range(1, round(TCP_DEADLINE / TCP_ROUND)):
            self._network.at(start + count * TCP_ROUND, lambda: self._redial(port, target))

    def _redial(self, port: int, target: Place) -> None:
        if target in self._refused and not self.connected:
            self._refused.discard(target)
            self.tcp.connect(port, target, self)

    def opened(self, connection: Connection, packet: Packet, /) -> None:
        self.via = self.via or packet
        self.tcp.send(connection, Message(NONCE))

    def received(self, connection: Connection, message: Message, /) -> None:
        if not self._network.chancy:
            self.connected = True
        elif message.name == NONCE and self._selects and not self._selected:
            self._selected = True
            self.tcp.send(connection, Message(SELECT))
        elif message.name == SELECT:
            self.connected = True
            self.tcp.send(connection, Message(SELECTED))
        elif message.name == SELECTED:
            self.connected = True

    def refused(self, connection: Connection, /) -> None:
        self._refused.add(connection.remote)


def plain_dial_udp(setting: Setting) -> Result:
    """The dialer probes from a fresh port; the listener only answers."""
    dialer, listener = (
        UdpPeer(setting.network, host, setting.port(host)) for host in setting.hosts
    )
    if (failure := _learn(setting, Protocol.UDP, dialer, listener)) is not None:
        return failure
    fresh = UdpPeer(setting.network, setting.dialer, FRESH_PORT)
    starts = setting.starts()
    fresh.punch(listener.observed, starts[0])
    listener.punch(None, starts[1])
    # A listener that is asked nothing sends nothing, and has no ACK to wait for.
    setting.network.run(starts[0] + UDP_DEADLINE, lambda: fresh.connected)
    return _judge(setting, fresh.via if fresh.connected else None, listener.observed, None)


def plain_dial_tcp(setting: Setting) -> Result:
    """The dialer connects from a fresh port; the listener only accepts."""
    return _tcp(setting, punching=False)


def punch_udp(setting: Setting) -> Result:
    """Both probe each other's mapped address from the port that has it."""
    dialer, listener = (
        UdpPeer(setting.network, host, setting.port(host)) for host in setting.hosts
    )
    if (failure := _learn(setting, Protocol.UDP, dialer, listener)) is not None:
        return failure
    starts = setting.starts()
    dialer.punch(listener.observed, starts[0])
    listener.punch(dialer.observed, starts[1])
    setting.network.run(max(starts) + UDP_DEADLINE, lambda: dialer.connected and listener.connected)
    via = dialer.via if listener.connected else None
    return _judge(setting, via, listener.observed, dialer.observed)


def punch_tcp(setting: Setting) -> Result:
    """Both connect to each other's mapped address from the port they listen on."""
    return _tcp(setting, punching=True)


def _tcp(setting: Setting, *, punching: bool) -> Result:
    network = setting.network
    dialer, listener = (
        TcpPeer(network, host, setting.port(host), selects=host == setting.dialer)
        for host in setting.hosts
    )
    if (failure := _learn(setting, Protocol.TCP, dialer, listener)) is not None:
        return failure
    starts = setting.starts()
    if listener.observed is not None:
        own = setting.port(setting.dialer)
        dialer.dial(own if punching else FRESH_PORT, listener.observed, starts[0])
    if punching and dialer.observed is not None:
        listener.dial(setting.port(setting.listener), dialer.observed, starts[1])
    network.run(min(starts) + TCP_DEADLINE, lambda: dialer.connected and listener.connected)
    via = dialer.via if dialer.connected and listener.connected else None
    return _judge(setting, via, listener.observed, dialer.observed)


def no_punch(setting: Setting) -> Result:
    """Hole punching switched off: the control that must stay unconnected."""
    return Result(Outcome.NONE, NobodySends(*setting.hosts))


def serve_stun(setting: Setting) -> Tcp:
    """Start the STUN server; its host's TCP, for other services there."""
    tcp = Tcp(setting.network, setting.server)
    stun.Server(setting.network, setting.server, tcp)
    return tcp


def unlearned(setting: Setting, host: str, protocol: Protocol) -> Unlearned:
    """Why ``host`` has no mapped address."""
    server = setting.network.entrance(setting.server, protocol, stun.PORT)
    return Unlearned(host, protocol.value.upper(), setting.network.lost.get((host, server)))


def _learn(setting: Setting, protocol: Protocol, *peers: UdpPeer | TcpPeer) -> Result | None:
    """Let both peers ask the STUN server; a result if one of them gets no answer."""
    network = setting.network
    serve_stun(setting)
    for peer in peers:
        peer.learn(setting.server)
    slow = network.chancy and protocol is Protocol.TCP
    patience = TCP_PATIENCE if slow else stun.PATIENCE
    network.run(network.now + patience, lambda: all(peer.observed is not None for peer in peers))
    for host, peer in zip(setting.hosts, peers, strict=True):
        if peer.observed is None:
            return Result(Outcome.NONE, unlearned(setting, host, protocol))
    return None


def _judge(
    setting: Setting, via: Packet | None, towards: Place | None, back: Place | None
) -> Result:
    if via is not None:
        return Result(Outcome.DIRECT, Passed(via.origin, via.notes))
    return Result(Outcome.NONE, _blocked(setting, towards, back))


def _blocked(setting: Setting, towards: Place | None, back: Place | None) -> Lost:
    """Why neither direction came through, from each direction's last loss."""
    lost = setting.network.lost
    directions = ((setting.dialer, towards), (setting.listener, back))
    ways = tuple(
        WayLost(origin, target, lost[origin, target])
        for origin, target in directions
        if target is not None and (origin, target) in lost
    )
    return Lost(ways, Silence.NONE_REACHED)


PLAIN_DIAL_UDP = Model(name="plain_dial_udp", protocol="udp", run=plain_dial_udp, patient=True)
PLAIN_DIAL_TCP = Model(name="plain_dial_tcp", protocol="tcp", run=plain_dial_tcp, patient=True)
PUNCH_UDP = Model(name="punch_udp", protocol="udp", run=punch_udp, patient=True)
PUNCH_TCP = Model(name="punch_tcp", protocol="tcp", run=punch_tcp, patient=True)
NO_PUNCH = Model(name="no_punch", protocol=None, run=no_punch)
