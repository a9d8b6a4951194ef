"""The public libp2p nodes that a peer meets: observers (identify) and a relay."""

from typing import Protocol as Interface

from testbed.model import behaviour
from testbed.model.frozen import FrozenValue
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
ASIDE = "part of a question"  # which a relay answers itself
PING = -2  # the turn of who asks first whether the relay's connection lives


class Packets(FrozenValue):
    """In how many packets of a transport the lab's stack says what takes several.

    One that is lost keeps what follows waiting.  Streams are proposed with their first words;
    before these may come the end of the stream before, or of the handshake.
    """

    asks: int  # identify, of a connection that is new
    observed: int  # its answer
    lives: int  # a ping's answer
    asks_again: int  # the relay, after that
    reserved: int
    refers: int  # the relay, to the dialer: the listener's answer
    stopped: int  # the listener, to the relay: its answer


# As recorded without loss and with it.  Over TCP the relay's answer to a dialer waits half for
# the listener's; over QUIC a stream's first answer has multistream-select's two words before.
TCP_PACKETS = Packets(
    asks=2, observed=2, lives=1, asks_again=2, reserved=2, refers=2, stopped=1
)  # fmt: skip
QUIC_PACKETS = Packets(
    asks=1, observed=3, lives=3, asks_again=1, reserved=3, refers=1, stopped=3
)  # fmt: skip


class Carrier(Interface):
    """What TCP and QUIC have in common."""

    protocol: behaviour.Protocol

    def listen(self, port: int, program: Program, /) -> None: ...
    def connect(self, port: int, remote: Place, program: Program, /) -> bool: ...
    def abandon(self, port: int, remote: Place, /) -> None: ...
    def abort(self, connection: Connection, /) -> None: ...
    def send(self, connection: Connection, message: Message, /) -> None: ...


def packets(carrier: Carrier) -> Packets:
    return QUIC_PACKETS if isinstance(carrier, Quic) else TCP_PACKETS


def say(
    carrier: Carrier, connection: Connection, message: Message, parts: int = 1, part: str = PART
) -> None:
    """Send ``message`` as the last of so many packets."""
    for _ in range(parts - 1):
        carrier.send(connection, Message(part))
    carrier.send(connection, message)


class Observer(Program):
    """A public node: tells whoever connects how it sees them.

    It is asked for that, where ``asked``: then each packet counts, since packets get lost.
    """

    def __init__(self, carrier: Carrier, port: int, *, asked: bool = False) -> None:
        self._carrier = carrier
        self._asked = asked
        self._packets = packets(carrier)
        carrier.listen(port, self)

    def opened(self, connection: Connection, _packet: Packet, /) -> None:
        if not self._asked:
            self._tell(connection)
        elif not isinstance(self._carrier, Quic):
            say(self._carrier, connection, Message(PART))

    def _tell(self, connection: Connection) -> None:
        parts = self._packets.observed if self._asked else 1
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
        if self._asked and (message.transaction == PING or turn == (RESERVE, 0)):
            own = self._packets
            parts = own.lives if message.transaction == PING else own.reserved
            answer = Message(message.name, transaction=message.transaction + 1)
            say(self._carrier, connection, answer, parts)
            return
        if message.name == ASIDE:
            return
        parts = self._packets.refers if turn == (CIRCUIT, 1) else 1
        for client in self._clients:
            if client is not connection:
                say(self._carrier, client, message, parts)
