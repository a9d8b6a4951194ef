"""The lab's own traversal programs: plain dial and hole punching, UDP and TCP.

Each is what the lab's peer does, at the same times; both ends and the server run
in one `Network`.  A mechanism is a function (Setting) -> (outcome, reason).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from testbed.nat.behaviour import Protocol
from testbed.oracle import stun
from testbed.oracle.network import Network
from testbed.oracle.packet import Endpoint, Message, Packet
from testbed.oracle.stun import send_udp
from testbed.oracle.tcp import Connection, Program, Tcp

PORT = 4001
FRESH_PORT = 40001  # of a socket that nobody was told of
PROBE_EVERY = 0.05  # seconds
UDP_DEADLINE = 3.0
TCP_ROUND = 1.0
TCP_DEADLINE = 4.0
PROBE = "probe"
ACK = "probe ACK"
NONCE = "nonce"


class Outcome(StrEnum):
    """How two peers end up connected."""

    DIRECT = "direct"
    RELAYED = "relayed"
    NONE = "none"


@dataclass(frozen=True)
class Setting:
    """Who runs a mechanism where; ``skew`` is how many seconds the listener is late."""

    network: Network
    dialer: str
    listener: str
    server: str
    skew: float

    @property
    def hosts(self) -> tuple[str, str]:
        return self.dialer, self.listener

    def starts(self) -> tuple[float, float]:
        """When the dialer and the listener begin, from the present moment."""
        now = self.network.now
        return now + max(0.0, -self.skew), now + max(0.0, self.skew)


Result = tuple[Outcome, str]
Mechanism = Callable[[Setting], Result]


class UdpPeer:
    """A UDP socket that probes its targets and answers the probes of others."""

    def __init__(self, network: Network, host: str, port: int) -> None:
        self._network = network
        self.local = Endpoint(host, port)
        self.observed: Endpoint | None = None
        self.via: Packet | None = None  # the ACK that connected us
        self._targets: list[Endpoint] = []
        network.bind(host, Protocol.UDP, port, self._receive)

    @property
    def connected(self) -> bool:
        return self.via is not None

    def learn(self, server: str) -> None:
        self._send(Endpoint(server, stun.PORT), stun.REQUEST)

    def punch(self, target: Endpoint | None, start: float, end: float) -> None:
        """Probe ``target``, and whoever probes us, every 50 ms from start to end."""
        if target is not None:
            self._targets.append(target)
        for count in range(round((end - start) / PROBE_EVERY)):
            self._network.at(start + count * PROBE_EVERY, self._probe)

    def _probe(self) -> None:
        for target in tuple(self._targets):
            self._send(target, PROBE)

    def _send(self, target: Endpoint, name: str) -> None:
        send_udp(self._network, self.local, target, Message(name))

    def _receive(self, packet: Packet) -> None:
        message = packet.message
        if message is None:
            return
        if message.name == stun.RESPONSE:
            self.observed = message.endpoint
        elif message.name == PROBE:
            if packet.source not in self._targets:
                self._targets.append(packet.source)
            self._send(packet.source, ACK)
        elif message.name == ACK and self.via is None:
            self.via = packet


class TcpPeer(Program):
    """Listens on a port, connects from it, and proves each connection by a nonce."""

    def __init__(self, network: Network, host: str, port: int, *, listens: bool = True) -> None:
        self._network = network
        self.tcp = Tcp(network, host)
        self._port = port
        self._query = stun.TcpQuery()
        self._refused: set[Endpoint] = set()
        self.via: Packet | None = None
        self.connected = False
        if listens:
            self.tcp.listen(port, self)

    @property
    def observed(self) -> Endpoint | None:
        return self._query.observed

    def learn(self, server: str) -> None:
        self.tcp.connect(self._port, Endpoint(server, stun.PORT), self._query)

    def dial(self, target: Endpoint, start: float, end: float) -> None:
        """Connect at ``start``; after a refusal again at the next full round."""
        self._network.at(start, lambda: self.tcp.connect(self._port, target, self))
        for count in range(1, round((end - start) / TCP_ROUND)):
            self._network.at(start + count * TCP_ROUND, lambda: self._redial(target))

    def _redial(self, target: Endpoint) -> None:
        if target in self._refused and not self.connected:
            self._refused.discard(target)
            self.tcp.connect(self._port, target, self)

    def opened(self, connection: Connection, packet: Packet, /) -> None:
        self.via = self.via or packet
        self.tcp.send(connection, Message(NONCE))

    def received(self, _connection: Connection, _message: Message, /) -> None:
        self.connected = True

    def refused(self, connection: Connection, /) -> None:
        self._refused.add(connection.remote)


def plain_dial_udp(setting: Setting) -> Result:
    """The dialer probes the listener's mapped address; the listener only answers."""
    network = setting.network
    serve_stun(setting)
    listener = UdpPeer(network, setting.listener, PORT)
    _learn(setting, listener)
    if listener.observed is None:
        return Outcome.NONE, unlearned(setting, setting.listener, Protocol.UDP)
    dialer = UdpPeer(network, setting.dialer, FRESH_PORT)
    end = network.now + UDP_DEADLINE
    dialer.punch(listener.observed, network.now, end)
    network.run(end, lambda: dialer.connected)
    if dialer.via is not None:
        return Outcome.DIRECT, _passed(dialer.via)
    return Outcome.NONE, _blocked(setting, listener.observed, None)


def plain_dial_tcp(setting: Setting) -> Result:
    """The dialer connects to the listener's mapped address from a fresh port."""
    network = setting.network
    serve_stun(setting)
    listener = TcpPeer(network, setting.listener, PORT)
    _learn(setting, listener)
    if listener.observed is None:
        return Outcome.NONE, unlearned(setting, setting.listener, Protocol.TCP)
    dialer = TcpPeer(network, setting.dialer, FRESH_PORT, listens=False)
    end = network.now + TCP_DEADLINE
    dialer.dial(listener.observed, network.now, end)
    network.run(end, lambda: dialer.connected and listener.connected)
    if dialer.connected and listener.connected:
        return Outcome.DIRECT, _passed(listener.via)
    return Outcome.NONE, _blocked(setting, listener.observed, None)


def punch_udp(setting: Setting) -> Result:
    """Both probe each other's mapped address from the port that has it."""
    network = setting.network
    serve_stun(setting)
    dialer, listener = (UdpPeer(network, host, PORT) for host in setting.hosts)
    _learn(setting, dialer, listener)
    starts = setting.starts()
    end = max(starts) + UDP_DEADLINE
    dialer.punch(listener.observed, starts[0], end)
    listener.punch(dialer.observed, starts[1], end)
    network.run(end, lambda: dialer.connected and listener.connected)
    return _judge(setting, Protocol.UDP, dialer, listener)


def punch_tcp(setting: Setting) -> Result:
    """Both connect to each other's mapped address from the port they listen on."""
    network = setting.network
    serve_stun(setting)
    dialer, listener = (TcpPeer(network, host, PORT) for host in setting.hosts)
    _learn(setting, dialer, listener)
    starts = setting.starts()
    end = max(starts) + TCP_DEADLINE
    if listener.observed is not None:
        dialer.dial(listener.observed, starts[0], end)
    if dialer.observed is not None:
        listener.dial(dialer.observed, starts[1], end)
    network.run(end, lambda: dialer.connected and listener.connected)
    return _judge(setting, Protocol.TCP, dialer, listener)


def no_punch(setting: Setting) -> Result:
    """Hole punching switched off: the control that must stay unconnected."""
    return Outcome.NONE, f"neither {setting.dialer} nor {setting.listener} sends anything"


def serve_stun(setting: Setting) -> Tcp:
    """Start the STUN server; its host's TCP, for other services there."""
    tcp = Tcp(setting.network, setting.server)
    stun.Server(setting.network, setting.server, tcp)
    return tcp


def unlearned(setting: Setting, host: str, protocol: Protocol) -> str:
    """Why ``host`` has no mapped address."""
    server = Endpoint(setting.server, stun.PORT)
    why = setting.network.lost.get((host, server), "no answer")
    return f"{host} learns no mapped {protocol.value.upper()} address: {why}"


def _learn(setting: Setting, *peers: UdpPeer | TcpPeer) -> None:
    network = setting.network
    for peer in peers:
        peer.learn(setting.server)
    network.run(
        network.now + stun.PATIENCE, lambda: all(peer.observed is not None for peer in peers)
    )


def _judge(
    setting: Setting, protocol: Protocol, dialer: UdpPeer | TcpPeer, listener: UdpPeer | TcpPeer
) -> Result:
    if dialer.connected and listener.connected:
        first = min((dialer, listener), key=lambda peer: peer.via is None)
        return Outcome.DIRECT, _passed(first.via)
    for host, peer in zip(setting.hosts, (dialer, listener), strict=True):
        if peer.observed is None:
            return Outcome.NONE, unlearned(setting, host, protocol)
    return Outcome.NONE, _blocked(setting, listener.observed, dialer.observed)


def _passed(packet: Packet | None) -> str:
    """Why the packet that made the connection came through."""
    if packet is None or not packet.notes:
        return "no NAT or filter stands between them"
    return f"{packet.origin} gets through: {'; '.join(packet.notes)}"


def _blocked(setting: Setting, towards: Endpoint | None, back: Endpoint | None) -> str:
    """Why neither direction came through, from each direction's last loss."""
    lost = setting.network.lost
    directions = ((setting.dialer, towards), (setting.listener, back))
    whys = [
        f"{origin} to {target}: {lost[origin, target]}"
        for origin, target in directions
        if target is not None and (origin, target) in lost
    ]
    return ". ".join(whys) or "no packet of one reached the other before the deadline"
