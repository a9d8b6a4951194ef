"""A host's QUIC socket, as far as the opening of connections goes (RFC 9000).

A packet finds its connection by the connection id, not by where it came from: a
server follows its client to another address, a client ignores a server that
answers from one it did not dial (section 9).
"""

from testbed.model.behaviour import Protocol
from testbed.model.trace import Kind, Place
from testbed.predict import delivery
from testbed.predict.delivery import Delivery
from testbed.predict.network import Network
from testbed.predict.packet import Carried, Message, Packet
from testbed.predict.tcp import Connection, Program, State
from testbed.stacks.adapter import SHORTEST, Opening

RETRANSMITS = (
    0.2,
    0.6,
    1.4,
    3.0,
    6.2,
)  # seconds after the first Initial: 100 ms RTT assumed, doubling
INITIAL = "QUIC Initial"
HANDSHAKE = "QUIC handshake"
FINISHED = "QUIC finished"
RANDOM = "random datagram"
_HEADERS = 28  # bytes: IP's and UDP's


class Quic:
    """All connections of one socket, dialled and accepted; ``Tcp``'s interface."""

    protocol = Protocol.UDP

    def __init__(self, network: Network, host: str, port: int, opening: Opening = SHORTEST) -> None:
        self._network = network
        self._length = _HEADERS + opening.datagram  # of each packet that opens a connection
        self._whole, self._elsewhere = opening.whole, opening.elsewhere
        self._local = Place(host, port)
        self._connections: dict[str, Connection] = {}
        self._listener: Program | None = None
        self._attempts = 0
        network.bind(host, Protocol.UDP, port, self._receive)

    def listen(self, _port: int, program: Program) -> None:
        self._listener = program

    def connect(self, _port: int, remote: Place, program: Program) -> bool:
        """Dial; any number of dials may be under way."""
        self._attempts += 1
        name = f"{self._local.address}/{self._attempts}"
        connection = Connection(self._local, remote, State.SYN_SENT, True, program, name)
        self._connections[name] = connection
        connection.asked = self._network.now
        self._open(connection)
        for delay in RETRANSMITS:
            self._network.at(self._network.now + delay, lambda: self._open(connection))
        return True

    def abandon(self, _port: int, remote: Place) -> None:
        """Give up dials that have not succeeded."""
        for name, connection in list(self._connections.items()):
            if connection.remote == remote and connection.state is State.SYN_SENT:
                del self._connections[name]

    def abort(self, connection: Connection) -> None:
        """End a connection, silently."""
        self._connections.pop(connection.isn, None)
        if connection.delivery is not None:
            connection.delivery.over = True

    def send(self, connection: Connection, message: Message) -> None:
        if connection.delivery is not None:
            connection.delivery.send(message)
        else:
            self._emit(connection.remote, message, connection.isn)

    def send_random(self, remote: Place) -> None:
        """A datagram that opens our NAT and means nothing to whom it reaches."""
        self._emit(remote, Message(RANDOM))

    def _open(self, connection: Connection) -> None:
        alive = self._connections.get(connection.isn) is connection
        if alive and connection.state is State.SYN_SENT:
            self.send(connection, Message(INITIAL))

    def _emit(
        self,
        remote: Place,
        message: Message | None,
        name: str = "",
        carried: Carried | None = None,
    ) -> None:
        origin = self._local.address
        opens = message is not None and message.name in (INITIAL, HANDSHAKE)
        self._network.send(
            Packet(
                Protocol.UDP,
                self._local,
                remote,
                Kind.DATAGRAM,
                origin,
                message,
                isn=name,
                carried=carried,
                length=self._length if opens else 0,
                whole=self._whole,
            )
        )

    def _deliver(self, connection: Connection) -> Delivery:
        """From now on, messages are repeated until they arrive."""
        network = self._network
        connection.delivery = Delivery(
            network,
            lambda c: self._emit(connection.remote, c.message, connection.isn, c),
            lambda message: self._received(connection, message),
            delivery.QUIC,
            None,  # aioquic counts no round trip before both handshakes are over
        )
        return connection.delivery

    def _received(self, connection: Connection, message: Message) -> None:
        if message.name != FINISHED:
            connection.program.received(connection, message)

    def _receive(self, packet: Packet) -> None:
        connection = self._connections.get(packet.isn)
        if connection is not None and packet.carried is not None:
            self._receive_carried(connection, packet, packet.carried)
            return
        if packet.message is None:
            return
        if connection is None:
            if packet.message.name == INITIAL and self._listener is not None:
                self._accept(packet, self._listener)
        elif not connection.active:
            connection.remote = packet.source
            self._receive_as_server(connection, packet, packet.message)
        elif self._is_from(connection, packet):
            self._receive_as_client(connection, packet, packet.message)

    def _is_from(self, connection: Connection, packet: Packet) -> bool:
        """Whether a client takes ``packet`` for one of its server's."""
        return self._elsewhere or packet.source == connection.remote

    def _accept(self, packet: Packet, program: Program) -> None:
        connection = Connection(
            self._local, packet.source, State.SYN_RECEIVED, False, program, packet.isn
        )
        self._connections[packet.isn] = connection
        self._answer(connection)
        if self._network.chancy:
            for delay in RETRANSMITS:
                self._network.at(self._network.now + delay, lambda: self._answer(connection))

    def _answer(self, connection: Connection) -> None:
        """The server's flight: one datagram, with the certificate, of the stacks met here."""
        if connection.state is not State.SYN_RECEIVED:
            return
        connection.asked = self._network.now
        self.send(connection, Message(HANDSHAKE))

    def _receive_carried(self, connection: Connection, packet: Packet, carried: Carried) -> None:
        """A packet of an established connection; a server is established by the client's first."""
        if connection.active and not self._is_from(connection, packet):
            return
        if not connection.active:
            connection.remote = packet.source
        if connection.delivery is not None:
            connection.delivery.take(carried)
        elif not connection.active and carried.number == 0:
            connection.state = State.ESTABLISHED
            delivery = self._deliver(connection)
            connection.program.opened(connection, packet)
            delivery.take(carried)

    def _receive_as_server(self, connection: Connection, packet: Packet, message: Message) -> None:
        if message.name == INITIAL:
            self._answer(connection)
            return
        if connection.state is State.SYN_RECEIVED:
            connection.state = State.ESTABLISHED
            connection.program.opened(connection, packet)
        if message.name != FINISHED:
            connection.program.received(connection, message)

    def _receive_as_client(self, connection: Connection, packet: Packet, message: Message) -> None:
        if message.name != HANDSHAKE:
            connection.program.received(connection, message)
            return
        if self._network.chancy:
            self._finish(connection, packet)
            return
        self.send(connection, Message(FINISHED))
        if connection.state is State.SYN_SENT:
            connection.state = State.ESTABLISHED
            connection.program.opened(connection, packet)

    def _finish(self, connection: Connection, packet: Packet) -> None:
        """As a client that has the server's flight: what follows is repeated if it gets lost."""
        if connection.state is State.SYN_SENT:
            connection.state = State.ESTABLISHED
            self._deliver(connection).send(Message(FINISHED))
            connection.program.opened(connection, packet)
