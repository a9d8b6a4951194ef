"""One end of a DCUtR upgrade: its dials, its signals, and what it learns of public nodes."""

from collections import Counter

from testbed.model.trace import Place
from testbed.predict.network import Network
from testbed.predict.packet import Message, Packet
from testbed.predict.public import (
    ASIDE,
    CIRCUIT,
    HELLO,
    IDENTIFY,
    OBSERVED,
    PART,
    PING,
    RESERVE,
    WELCOME,
    Carrier,
    packets,
    say,
)
from testbed.predict.quic import Quic
from testbed.predict.tcp import Connection, Program, Tcp

MOST = 3  # addresses that are signalled or advertised


PATIENCE = 3.0  # seconds to reach the relay and the observers, and again to be told the address


REVERSAL = 1.0  # as the lab's peers set it, and the punch: of a dial that is answered


PUNCHING = 2.0


SIGNALLING = 10.0


PAUSES = (0.1, 0.2, 0.4, 0.8)  # seconds before TCP dials that follow a refused one


RANDOM_EVERY = 0.1  # seconds; the protocol says 10 to 200 ms, by chance


LOOK = 0.001  # seconds between looks whether a dial that was answered has come through


TOGETHER = 0.005  # seconds: what is accepted so shortly before SYNC, a program sees after it


CONNECT = "CONNECT"


SYNC = "SYNC"


SECURE = "client's handshake"


SECURED = "server's handshake"


CONFIRMED = "client's last handshake"


# Steps to and of a circuit: CONNECT and STOP there, their answer, and Noise's three messages.  Then
# A pushes what it is, which B need not ask for, and does not lead without.
RESERVED, DIALER_HAS, LISTENER_HAS, INTRODUCED = 1, 3, 4, 5


FIRST_PACKETS = {True: 3, False: 2}  # of the first CONNECT, by who leads and by the other


FRESH = 2.0  # seconds since when a connection was heard that it needs no ping


class Contact(Program):
    """A peer's connection to a public node: what the node saw, and what it passes on."""

    def __init__(self, peer: "Peer") -> None:
        self._peer = peer
        self.connection: Connection | None = None
        self.observed: Place | None = None
        self.due = peer.waits  # when it must have got on
        self.late = False
        self.told_at = 0.0

    def opened(self, connection: Connection, _packet: Packet, /) -> None:
        self.connection = connection
        if self._peer.patient and self._peer.secures:
            self._peer.say(connection, HELLO)
        elif self._peer.patient:
            self._secured(connection)

    def _secured(self, connection: Connection) -> None:
        self.late |= self._peer.now > self.due
        self.due = self._peer.now + self._peer.waits
        self._peer.ask(connection)

    def received(self, connection: Connection, message: Message, /) -> None:
        if message.name == PART:
            return
        if message.name == OBSERVED:
            self.late |= self._peer.now > self.due
            self.observed = message.endpoint
            self.told_at = self._peer.now
        elif message.name == WELCOME:
            self._secured(connection)
        else:
            self._peer.signalled(message)


class Peer(Program):
    """One end.  ``leads``: it is B, who received the relayed connection.

    ``extra``: seconds by which it waits longer than usual, for its ways are long.
    """

    def __init__(
        self, network: Network, host: str, carrier: Carrier, *, leads: bool, extra: float = 0.0
    ) -> None:
        self.waits = PATIENCE + extra
        self.local = Place(host, network.topology.port(host))
        self.relay = Contact(self)
        self.direct = False
        self.via: tuple[Connection, Packet] | None = None  # the direct connection and its opening
        self.dialling: set[Place] = set()
        self.until = 0.0  # when what we are at ends
        self._reversed_until = 0.0
        self._network = network
        self._carrier = carrier
        self._leads = leads
        self._contacts = [self.relay]
        self._nodes: list[str] = []  # in the same order
        self._remote: tuple[Place, ...] = ()  # what the other has signalled
        self._sent_at = 0.0
        self._punching = False
        self.synced = False  # SYNC was sent: what comes now is punched
        self._clients: set[Connection] = set()  # where ours is the client's part
        self._refusals: Counter[Place] = Counter()
        self._early: list[tuple[float, Connection]] = []  # accepted from the other before SYNC
        self._open: set[Connection] = set()  # direct ones, and ours to end
        self.patient = network.chancy
        self._packets = packets(carrier)
        self._introduced = False  # the first CONNECT was sent
        self.secures = isinstance(carrier, Tcp)  # by a handshake of its own
        self.steps = 0  # of the circuit
        carrier.listen(self.local.port, self)

    @property
    def now(self) -> float:
        return self._network.now

    def say(self, connection: Connection, name: str, step: int = 0, parts: int = 1) -> None:
        say(self._carrier, connection, Message(name, transaction=step), parts)

    def ask(self, connection: Connection) -> None:
        """A public node, who we are."""
        say(self._carrier, connection, Message(IDENTIFY), self._packets.asks, ASIDE)

    # -- addresses --------------------------------------------------------

    def meet(self, server: str, observers: list[str]) -> None:
        """Connect to the observers and to the relay, from the port that we listen on."""
        self._contacts += [Contact(self) for _ in observers]
        self._nodes = [server, *observers]
        for node, contact in zip(self._nodes, self._contacts, strict=True):
            there = self.way_to(node)
            self._carrier.connect(self.local.port, there, contact)

    def way_to(self, node: str) -> Place:
        """Where a public node is reached."""
        port = self._network.topology.port(node)
        return self._network.entrance(node, self._carrier.protocol, port)

    @property
    def met(self) -> bool:
        return not self.missed

    @property
    def missed(self) -> list[str]:
        """The public nodes that did not say how they see us."""
        pairs = zip(self._nodes, self._contacts, strict=True)
        return [node for node, contact in pairs if contact.observed is None]

    @property
    def late(self) -> bool:
        """Whether a public node was too slow for a peer that needs them all."""
        return any(
            one.late or (one.observed is None and self.now > one.due) for one in self._contacts
        )

    def addresses(self, threshold: int) -> tuple[Place, ...]:
        """What so many nodes agree on, the best first; an untranslated address needs one."""
        counts = Counter(c.observed for c in self._contacts if c.observed is not None)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
        return tuple(a for a, n in ranked if n >= threshold or a == self.local)[:MOST]

    # -- the ladder -------------------------------------------------------

    def reverse(self, targets: tuple[Place, ...]) -> None:
        """B dials what A advertises, each address once."""
        self._reversed_until = self._network.now + REVERSAL
        for target in targets:
            self._dial(target)

    def lead(self) -> None:
        """B begins an attempt."""
        self._sent_at = self._network.now
        self.until = self._network.now + SIGNALLING
        self._connect()

    def _connect(self) -> None:
        """CONNECT, or the answer to it.  Before the first come answers to what the other asked."""
        first, self._introduced = not self._introduced, True
        parts = FIRST_PACKETS[self._leads] if first else 1
        self._signal(Message(CONNECT, endpoints=self.addresses(1)), parts)

    def _signal(self, message: Message, parts: int = 1) -> None:
        if self.relay.connection is not None:
            told = parts if self.patient else 1
            say(self._carrier, self.relay.connection, message, told)

    def approach(self, name: str) -> None:
        """Our first step to a reservation or a circuit; who has long heard nothing asks before."""
        fresh = self.now - self.relay.told_at < FRESH
        self.climb(0 if fresh else PING, name)

    def climb(self, step: int, name: str = CIRCUIT) -> None:
        """Our next step towards a circuit, or to a reservation."""
        pinged, self.steps = self.steps < 0, step
        if self.relay.connection is None:
            return
        message, own = Message(name, transaction=step), self._packets
        if step == 0:
            parts, part = own.asks_again if pinged else 1, ASIDE
        else:
            parts, part = own.stopped if (name, step) == (CIRCUIT, 1) else 1, PART
        say(self._carrier, self.relay.connection, message, parts, part)
        if step == LISTENER_HAS:
            say(self._carrier, self.relay.connection, Message(name, transaction=INTRODUCED))

    def signalled(self, message: Message) -> None:
        """A message of the other end has come over the relay."""
        now = self._network.now
        if message.name in (CIRCUIT, RESERVE):
            self.steps = message.transaction
            if self.steps < (LISTENER_HAS if message.name == CIRCUIT else RESERVED):
                self.climb(self.steps + 1, message.name)
            return
        if message.name == SYNC:
            self._punch()
            return
        self._remote = message.endpoints
        if self._leads:
            self._sync((now - self._sent_at) / 2)
        else:
            self._connect()

    def _sync(self, half: float) -> None:
        """SYNC, and the punch half a round trip later; a dial that was answered is waited for."""
        now = self._network.now
        if self.direct:
            return
        if not self.synced and self._open and now < self._reversed_until:
            self.until = self._reversed_until + SIGNALLING
            self._network.at(min(now + LOOK, self._reversed_until), lambda: self._sync(half))
            return
        self.stop()  # the dials that nobody has answered
        self.synced = True
        self.until = now + half + PUNCHING
        self._signal(Message(SYNC))
        self._network.at(now + half, self._punch)

    def _punch(self) -> None:
        self._punching = True
        self._refusals.clear()
        self.until = self._network.now + PUNCHING
        self._network.at(self.until, self.stop)
        for accepted, connection in self._early:
            if self._network.now - accepted <= TOGETHER:
                self._begin_as_client(connection)
        for target in self._remote:
            if self._leads and isinstance(self._carrier, Quic):
                self._send_random(self._carrier, target)
            else:
                self._dial(target)

    def stop(self) -> None:
        """End the dials and datagrams that are under way."""
        self._punching = False
        for target in self.dialling:
            self._carrier.abandon(self.local.port, target)
        self.dialling.clear()
        if self.patient and not self.direct:
            for connection in self._open:
                self._carrier.abort(connection)
            self._open.clear()

    def _send_random(self, socket: Quic, target: Place) -> None:
        if self._punching and not self.direct:
            socket.send_random(target)
            again = self._network.now + RANDOM_EVERY
            self._network.at(again, lambda: self._send_random(socket, target))

    def _dial(self, target: Place) -> None:
        self.dialling.add(target)
        if not self._carrier.connect(self.local.port, target, self):
            self._failed(target)

    def _failed(self, target: Place) -> None:
        """Nobody is there, yet: a punch dials again, a reversal does not."""
        self.dialling.discard(target)
        if self._punching:
            pause = PAUSES[min(self._refusals[target], len(PAUSES) - 1)]
            self._refusals[target] += 1
            until = self.until
            self._network.at(self._network.now + pause, lambda: self._redial(target, until))

    def _redial(self, target: Place, until: float) -> None:
        if self._punching and self.until == until and not self.direct:
            self._dial(target)  # else a later attempt makes dials of its own

    # -- the direct connection --------------------------------------------

    def refused(self, connection: Connection, /) -> None:
        self._failed(connection.remote)

    def opened(self, connection: Connection, packet: Packet, /) -> None:
        self.via = self.via or (connection, packet)
        if connection.active:
            self._open.add(connection)
        if self.patient and not self.secures:
            self.direct = True
        elif self._is_client(connection):
            self._begin_as_client(connection)
        elif not connection.active and not self._leads and self._is_expected(connection):
            self._early.append((self._network.now, connection))

    def _begin_as_client(self, connection: Connection) -> None:
        self._clients.add(connection)
        self.say(connection, SECURE)

    def _is_client(self, connection: Connection) -> bool:
        """A is the client of a punched connection, even if B's SYN got in first."""
        if connection.active:
            return not (self._leads and self._punching)
        return self._punching and not self._leads and self._is_expected(connection)

    def _is_expected(self, connection: Connection) -> bool:
        return any(remote.address == connection.remote.address for remote in self._remote)

    def lost(self, connection: Connection, /) -> None:
        """The other end had waited too long for it."""
        self._open.discard(connection)
        self._clients.discard(connection)
        self.direct = False

    def received(self, connection: Connection, message: Message, /) -> None:
        if message.name == SECURED:
            self.direct = True
            if self.patient:
                self.say(connection, CONFIRMED)
        elif message.name == PART:
            return
        elif message.name == SECURE and self.patient and connection not in self._clients:
            self.say(connection, SECURED, parts=3)
        elif connection not in self._clients:
            self.direct = True
            if not self.patient:
                self.say(connection, SECURED)
