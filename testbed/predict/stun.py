"""The public STUN server, and the learning of one's mapped address (RFC 8489)."""

from collections.abc import Callable

from testbed.model.behaviour import Protocol
from testbed.model.trace import Kind, Place
from testbed.predict.network import Network
from testbed.predict.packet import Message, Packet
from testbed.predict.tcp import Connection, Program, Tcp

PORT = 3478
REQUEST = "STUN request"
RESPONSE = "STUN response"
PATIENCE = 3.0  # seconds that learning may take
REQUESTS = (0.0, 0.5, 1.5)  # seconds: RFC 8489 section 6.2.1, with Rc = 3


class Server(Program):
    """Answers at UDP and TCP ``PORT`` of ``host`` with the source it sees."""

    def __init__(self, network: Network, host: str, tcp: Tcp) -> None:
        self._network = network
        self._host = host
        self._tcp = tcp
        network.bind(host, Protocol.UDP, PORT, self._answer)
        tcp.listen(PORT, self)

    def _answer(self, packet: Packet) -> None:
        seen = Message(RESPONSE, packet.source)
        send_udp(self._network, packet.destination, packet.source, seen)

    def opened(self, connection: Connection, _packet: Packet, /) -> None:
        if not self._network.chancy:
            self._tcp.send(connection, Message(RESPONSE, connection.remote))

    def received(self, connection: Connection, message: Message, /) -> None:
        if message.name == REQUEST:
            self._tcp.send(connection, Message(RESPONSE, connection.remote))


class TcpQuery(Program):
    """Learns the mapped address of a TCP port; the connection stays open.

    It asks for it where packets get lost: then each of them counts.
    """

    def __init__(self, tcp: Tcp) -> None:
        self._tcp = tcp
        self.observed: Place | None = None

    def opened(self, connection: Connection, _packet: Packet, /) -> None:
        if connection.delivery is not None:
            self._tcp.send(connection, Message(REQUEST))

    def received(self, _connection: Connection, message: Message, /) -> None:
        self.observed = message.endpoint


def ask(network: Network, local: Place, server: str, answered: Callable[[], bool]) -> None:
    """Send a request from ``local``; where packets get lost, again until it is answered."""
    there = network.entrance(server, Protocol.UDP, PORT)

    def request() -> None:
        if not answered():
            send_udp(network, local, there, Message(REQUEST))

    request()
    for delay in REQUESTS[1:] if network.chancy else ():
        network.at(network.now + delay, request)


def send_udp(network: Network, source: Place, destination: Place, message: Message) -> None:
    network.send(Packet(Protocol.UDP, source, destination, Kind.DATAGRAM, source.address, message))
