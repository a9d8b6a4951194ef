"""The public libp2p nodes that a peer meets: observers (identify) and a relay."""

from typing import Protocol as Interface

from testbed.model import behaviour
from testbed.model.trace import Place
from testbed.predict.packet import Message, Packet
from testbed.predict.quic import Quic
from testbed.predict.tcp import Connection, Program

OBSERVED = "observed address"
HELLO = "client's first words"  # multistream-select and Noise in one, over TCP alone
WELCOME = "server's first words"
IDENTIFY = "identify"
RESERVE = "reserve"  # numbered as `Message.transaction`, in turns
CIRCUIT = "circuit"  # what it takes to be connected over a relay, numbered so, too
PART = "part of an answer"
# Of them, what the relay answers itself (a reservation, a ping before), and in how
# many packets: a stream's first answer has multistream-select's greeting and its choice before.
ANSWERED = {(RESERVE, 0): 3, (CIRCUIT, -2): 3}


class Carrier(Interface):
    """What TCP and QUIC have in common."""

    protocol: behaviour.Protocol

    def listen(self, port: int, program: Program, /) -> None: ...
    def connect(self, port: int, remote: Place, program: Program, /) -> bool: ...
    def abandon(self, port: int, remote: Place, /) -> None: ...
    def abort(self, connection: Connection, /) -> None: ...
    def send(self, connection: Connection, message: Message, /) -> None: ...


def say(carrier: Carrier, connection: Connection, message: Message, parts: int = 1) -> None:
    """Send ``message`` as the last of so many packets."""
    for _ in range(parts - 1):
        carrier.send(connection, Message(PART))
    carrier.send(connection, message)


class Observer(Program):
    """A public node: tells whoever connects how it sees them.

    It is asked for that, where ``asked``: then each packet counts, since packets get lost.
    """

    def __init__(self, carrier: Carrier, port: int, *, asked: bool = False) -> None:
        self._carrier = carrier
        self._asked = asked
        carrier.listen(port, self)

    def opened(self, connection: Connection, _packet: Packet, /) -> None:
        if not self._asked:
            self._tell(connection)
        elif not isinstance(self._carrier, Quic):
            say(self._carrier, connection, Message(PART))

    def _tell(self, connection: Connection) -> None:
        parts = 3 if self._asked else 1
        say(self._carrier, connection, Message(OBSERVED, connection.remote), parts)

    def received(self, connection: Connection, message: Message, /) -> None:
        if message.name == HELLO:
            say(self._carrier, connection, Message(WELCOME), 2)
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
        turn = message.name, message.transaction
        if self._asked and turn in ANSWERED:
            answer = Message(message.name, transaction=message.transaction + 1)
            say(self._carrier, connection, answer, ANSWERED[turn])
            return
        for client in self._clients:
            if client is not connection:
                self._carrier.send(client, message)
