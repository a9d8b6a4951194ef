"""A host's TCP, as far as the opening of connections goes (RFC 9293 section 3.5)."""

from dataclasses import dataclass
from enum import StrEnum

from testbed.model.behaviour import Protocol
from testbed.model.trace import Kind, Place
from testbed.predict import delivery
from testbed.predict.delivery import Delivery
from testbed.predict.network import ERRORS, Network
from testbed.predict.packet import Carried, Message, Packet

# Seconds after the first one, of Linux.  SYNs of who calls are repeated each second before the
# pauses double (net.ipv4.tcp_syn_linear_timeouts, 4 since Linux 6.5, and the timer that follows).
SYNS = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0)
SYN_ACKS = (1.0, 3.0, 7.0)


class State(StrEnum):
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"


class Program:
    """What a program hears of its connections; by default it does not care."""

    def opened(self, connection: "Connection", packet: Packet, /) -> None:
        """The connection is established; ``packet`` was the last one needed."""

    def received(self, connection: "Connection", message: Message, /) -> None:
        """The other end has sent ``message``."""

    def refused(self, connection: "Connection", /) -> None:
        """An attempt of ours was answered by an RST or an ICMP error."""

    def lost(self, connection: "Connection", /) -> None:
        """The other end has ended the connection."""


@dataclass(eq=False)
class Connection:
    local: Place
    remote: Place
    state: State
    active: bool  # opened by connect()
    program: Program
    isn: str  # stands for the initial sequence number
    peer_isn: str = ""
    asked: float = 0.0  # when we last sent what opens it
    said: Kind | None = None  # what that was
    repeated: bool = False  # and whether we have sent it more than once
    heard: float = 0.0  # the stamp of the other end's first SYN or SYN-ACK that came
    delivery: Delivery | None = None  # once it is established, where messages may get lost


class Tcp:
    """All connections of one host, every port of it reusable (SO_REUSEPORT)."""

    protocol = Protocol.TCP

    def __init__(self, network: Network, host: str) -> None:
        self._network = network
        self._host = host
        self._connections: dict[tuple[Place, Place], Connection] = {}
        self._listeners: dict[int, Program] = {}
        self._attempts = 0
        network.bind(host, Protocol.TCP, None, self._receive)

    def listen(self, port: int, program: Program) -> None:
        self._listeners[port] = program

    def connect(self, port: int, remote: Place, program: Program) -> bool:
        """Open from ``port``; False, and nothing done, while that pair of endpoints is in use."""
        local = Place(self._host, port)
        if (local, remote) in self._connections:
            return False
        isn = self._next_isn()
        self._begin(Connection(local, remote, State.SYN_SENT, True, program, isn))
        return True

    def abandon(self, port: int, remote: Place) -> None:
        """Give up an attempt of ours that has not succeeded, silently."""
        key = Place(self._host, port), remote
        connection = self._connections.get(key)
        if connection and connection.active and connection.state is not State.ESTABLISHED:
            del self._connections[key]

    def abort(self, connection: Connection) -> None:
        """End a connection by an RST."""
        self._forget(connection)
        self._emit(connection, Kind.RESET)

    def _forget(self, connection: Connection) -> None:
        self._connections.pop((connection.local, connection.remote), None)
        if connection.delivery is not None:
            connection.delivery.over = True

    def send(self, connection: Connection, message: Message) -> None:
        if connection.delivery is not None:
            connection.delivery.send(message)
        else:
            self._emit(connection, Kind.DATA, message)

    def _begin(self, connection: Connection) -> None:
        self._connections[connection.local, connection.remote] = connection
        self._transmit(connection)
        for delay in SYNS if connection.active else SYN_ACKS:
            self._network.at(self._network.now + delay, lambda: self._transmit(connection))

    def _next_isn(self) -> str:
        self._attempts += 1
        return f"{self._host}/{self._attempts}"

    def _transmit(self, connection: Connection) -> None:
        alive = self._connections.get((connection.local, connection.remote)) is connection
        if alive and connection.state is not State.ESTABLISHED:
            kind = Kind.SYN if connection.state is State.SYN_SENT else Kind.SYN_ACK
            connection.repeated |= connection.said is kind
            connection.said, connection.asked = kind, self._network.now
            self._emit(connection, kind)

    def _emit(
        self,
        connection: Connection,
        kind: Kind,
        message: Message | None = None,
        carried: Carried | None = None,
    ) -> None:
        self._network.send(
            Packet(
                Protocol.TCP,
                connection.local,
                connection.remote,
                kind,
                self._host,
                message,
                isn=connection.isn,
                acknowledged="" if kind is Kind.SYN else connection.peer_isn,
                stamp=self._network.now,
                echo=connection.heard,
                carried=carried,
            )
        )

    def _establish(self, connection: Connection, packet: Packet) -> None:
        """By ``packet``, which measures the round trip, too.

        Of what was repeated, by the stamp that it echoes (RFC 7323 section 4.1).  A SYN-ACK echoes
        the first SYN that came, also if it answers a later one: who calls and loses a SYN-ACK
        believes in a round trip of a second and more, and repeats what it says as late (Linux).
        """
        connection.state = State.ESTABLISHED
        network = self._network
        since = packet.echo if connection.repeated else connection.asked
        if network.chancy:
            connection.delivery = Delivery(
                network,
                lambda carried: self._carry(connection, carried),
                lambda message: connection.program.received(connection, message),
                delivery.TCP,
                network.now - since,
            )

    def _carry(self, connection: Connection, carried: Carried) -> None:
        kind = Kind.ACK if carried.message is None else Kind.DATA
        self._emit(connection, kind, carried.message, carried)

    def _receive(self, packet: Packet) -> None:
        connection = self._connections.get((packet.destination, packet.source))
        if connection is None:
            self._receive_unknown(packet)
        elif packet.kind in ERRORS:
            self._receive_error(connection)
        elif packet.kind is not Kind.SYN and packet.acknowledged != connection.isn:
            self._reset(packet)  # it belongs to another attempt, RFC 9293 section 3.10.7
        elif connection.state is State.SYN_SENT:
            self._receive_opening(connection, packet)
        elif packet.kind is Kind.SYN and connection.delivery is not None:
            self._emit(connection, Kind.ACK)  # a challenge, RFC 9293 section 3.10.7.4
        elif packet.kind is Kind.SYN:
            self._transmit(connection)  # our SYN-ACK was lost, or the peer repeats itself
        else:
            self._receive_synchronized(connection, packet)

    def _receive_unknown(self, packet: Packet) -> None:
        local, remote = packet.destination, packet.source
        program = self._listeners.get(local.port)
        if packet.kind is Kind.SYN and program is not None:
            isn, peer, state = self._next_isn(), packet.isn, State.SYN_RECEIVED
            made = Connection(local, remote, state, False, program, isn, peer, heard=packet.stamp)
            self._begin(made)
        elif packet.kind not in ERRORS:
            self._reset(packet)

    def _reset(self, packet: Packet) -> None:
        local, remote = packet.destination, packet.source
        self._network.send(Packet(Protocol.TCP, local, remote, Kind.RESET, self._host))

    def _receive_error(self, connection: Connection) -> None:
        """In SYN-SENT, Linux takes an ICMP port unreachable for as final as an RST."""
        if connection.state is not State.ESTABLISHED:
            del self._connections[connection.local, connection.remote]
            if connection.active:
                connection.program.refused(connection)
        elif connection.delivery is not None:
            self._forget(connection)
            connection.program.lost(connection)

    def _receive_opening(self, connection: Connection, packet: Packet) -> None:
        connection.peer_isn, connection.heard = packet.isn, packet.stamp
        if packet.kind is Kind.SYN:  # simultaneous open, RFC 9293 figure 7
            connection.state = State.SYN_RECEIVED
            self._transmit(connection)
        elif packet.kind is Kind.SYN_ACK:
            self._establish(connection, packet)
            self._emit(connection, Kind.ACK)
            connection.program.opened(connection, packet)

    def _receive_synchronized(self, connection: Connection, packet: Packet) -> None:
        if connection.state is State.SYN_RECEIVED:
            self._establish(connection, packet)
            connection.program.opened(connection, packet)
        if connection.delivery is not None:
            self._receive_carried(connection, connection.delivery, packet)
        elif packet.message is not None:
            connection.program.received(connection, packet.message)

    def _receive_carried(self, connection: Connection, delivery: Delivery, packet: Packet) -> None:
        if packet.kind is Kind.SYN_ACK:
            self._emit(connection, Kind.ACK)  # ours was lost
        elif packet.carried is not None:
            delivery.take(packet.carried)
