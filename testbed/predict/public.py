"""The public libp2p nodes that a peer meets: observers (identify) and a relay."""

from typing import Protocol as Interface

from testbed.model.reason import Place
from testbed.predict.packet import Message, Packet
from testbed.predict.tcp import Connection, Program

OBSERVED = "observed address"


class Carrier(Interface):
    """What TCP and QUIC have in common."""

    def listen(self, port: int, program: Program, /) -> None: ...
    def connect(self, port: int, remote: Place, program: Program, /) -> bool: ...
    def abandon(self, port: int, remote: Place, /) -> None: ...
    def send(self, connection: Connection, message: Message, /) -> None: ...


class Observer(Program):
    """A public node: tells whoever connects how it sees them."""

    def __init__(self, carrier: Carrier, port: int) -> None:
        self._carrier = carrier
        carrier.listen(port, self)

    def opened(self, connection: Connection, _packet: Packet, /) -> None:
        self._carrier.send(connection, Message(OBSERVED, connection.remote))


class Relay(Observer):
    """Passes on what one of its two clients says to the other."""

    def __init__(self, carrier: Carrier, port: int) -> None:
        super().__init__(carrier, port)
        self._clients: list[Connection] = []

    def opened(self, connection: Connection, packet: Packet, /) -> None:
        self._clients.append(connection)
        super().opened(connection, packet)

    def received(self, connection: Connection, message: Message, /) -> None:
        for client in self._clients:
            if client is not connection:
                self._carrier.send(client, message)
