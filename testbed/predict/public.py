"""The public libp2p nodes that a peer meets: observers (identify) and a relay."""

from typing import Protocol as Interface

from testbed.model import behaviour
from testbed.model.reason import Place
from testbed.predict.packet import Message, Packet
from testbed.predict.tcp import Connection, Program

OBSERVED = "observed address"
HELLO = "client's first words"  # multistream-select and Noise in one, over TCP alone
WELCOME = "server's first words"
IDENTIFY = "identify"
CIRCUIT = "circuit"  # what it takes to be connected over a relay, numbered as `transaction`
ANSWERED = (0, 3)  # of them, what the relay answers itself: streams to it and from it


class Carrier(Interface):
    """What TCP and QUIC have in common."""

    protocol: behaviour.Protocol

    def listen(self, port: int, program: Program, /) -> None: ...
    def connect(self, port: int, remote: Place, program: Program, /) -> bool: ...
    def abandon(self, port: int, remote: Place, /) -> None: ...
    def abort(self, connection: Connection, /) -> None: ...
    def send(self, connection: Connection, message: Message, /) -> None: ...


class Observer(Program):
    """A public node: tells whoever connects how it sees them.

    It is asked for that, where ``asked``: then each round trip counts, since packets get lost.
    """

    def __init__(self, carrier: Carrier, port: int, *, asked: bool = False) -> None:
        self._carrier = carrier
        self._asked = asked
        carrier.listen(port, self)

    def opened(self, connection: Connection, _packet: Packet, /) -> None:
        if not self._asked:
            self._tell(connection)

    def _tell(self, connection: Connection) -> None:
        self._carrier.send(connection, Message(OBSERVED, connection.remote))

    def received(self, connection: Connection, message: Message, /) -> None:
        if message.name == HELLO:
            self._carrier.send(connection, Message(WELCOME))
        elif message.name == IDENTIFY:
            self._tell(connection)


class Relay(Observer):
    """Passes on what one of its two clients says to the other."""

    def __init__(self, carrier: Carrier, port: int, *, asked: bool = False) -> None:
        super().__init__(carrier, port, asked=asked)
        self._clients: list[Connection] = []

    def opened(self, connection: Connection, packet: Packet, /) -> None:
        self._clients.append(connection)
        super().opened(connection, packet)

    def received(self, connection: Connection, message: Message, /) -> None:
        if self._asked and message.name in (HELLO, IDENTIFY):
            super().received(connection, message)
            return
        if self._asked and message.name == CIRCUIT and message.transaction in ANSWERED:
            self._carrier.send(connection, Message(CIRCUIT, transaction=message.transaction + 1))
            return
        for client in self._clients:
            if client is not connection:
                self._carrier.send(client, message)
