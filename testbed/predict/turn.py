"""TURN over TCP (RFC 8656), as far as ICE's relayed candidates need it: server and client."""

from collections.abc import Callable

from testbed.model.behaviour import Protocol
from testbed.model.entrance import RELAY_PORTS, reached_ports
from testbed.model.frozen import FrozenValue
from testbed.model.trace import Kind, Place
from testbed.predict.network import Network
from testbed.predict.packet import Message, Packet
from testbed.predict.stun import send_udp
from testbed.predict.tcp import Connection, Program, Tcp

PORT = 443
THINKING = 0.001  # seconds that a server takes: its answer loses to a packet of equally long way
CLIENT_PORT = 41001
ALLOCATE = "allocate"
CHALLENGE = "challenge"  # 401 with the nonce that the second request needs
ALLOCATED = "allocated"
PERMIT = "create permission"
PERMITTED = "permission created"
SEND = "send"
DATA = "relayed data"


class Relays(FrozenValue):
    """What a server on ``host`` relays at: the address that it tells, and its ports."""

    host: str
    outside: str  # the host's, or that of the outermost NAT before it
    ports: tuple[int, int]

    def inward(self, place: Place) -> Place:
        """As coturn takes the address that it tells: for its own, whatever the port is."""
        return place if place.address != self.outside else Place(self.host, place.port)

    def outward(self, place: Place) -> Place:
        """As it tells its own."""
        return place if place.address != self.host else Place(self.outside, place.port)


def relays(network: Network, host: str) -> Relays:
    """Those of a server on ``host``: it is told its NAT's address, and the ports that are open."""
    topology = network.topology
    outside = network.entrance(host, Protocol.UDP, RELAY_PORTS[0]).address
    ports = reached_ports(topology, network.behaviours, host, RELAY_PORTS)
    return Relays(host, outside, ports)


class TurnServer(Program):
    """One UDP relay port for each client connection."""

    def __init__(self, network: Network, host: str, tcp: Tcp) -> None:
        self._network = network
        self._host = host
        self._at = relays(network, host)
        self._tcp = tcp
        self._relays: dict[Connection, Place] = {}
        self._permitted: dict[Connection, set[str]] = {}  # by address alone, RFC 8656 section 9
        self._asked: set[Connection] = set()
        tcp.listen(PORT, self)

    def opened(self, connection: Connection, _packet: Packet, /) -> None:
        self._permitted[connection] = set()

    def received(self, connection: Connection, message: Message, /) -> None:
        if message.name == ALLOCATE and self._network.chancy and connection not in self._asked:
            self._asked.add(connection)  # each round trip counts, where packets get lost
            self._tcp.send(connection, Message(CHALLENGE))
        elif message.name == ALLOCATE:
            relay = Place(self._host, self._at.ports[0] + len(self._relays))
            self._relays[connection] = relay
            self._network.bind(
                self._host, Protocol.UDP, relay.port, lambda packet: self._relay(connection, packet)
            )
            self._tcp.send(connection, Message(ALLOCATED, self._at.outward(relay)))
        elif message.name == PERMIT and message.endpoint is not None:
            self._permitted[connection].add(self._at.inward(message.endpoint).address)
            answer = Message(PERMITTED, message.endpoint)
            later = self._network.now + THINKING
            self._network.at(later, lambda: self._tcp.send(connection, answer))
        elif message.name == SEND and message.endpoint is not None and message.inner is not None:
            self._send(connection, self._at.inward(message.endpoint), message.inner)

    def _send(self, connection: Connection, remote: Place, inner: Message) -> None:
        """It relays to no private address, and so to none of its LAN, but to its own."""
        if self._at.outside == self._host or (
            remote.address == self._host or self._network.is_public(remote.address)
        ):
            send_udp(self._network, self._relays[connection], remote, inner)

    def _relay(self, connection: Connection, packet: Packet) -> None:
        if packet.source.address in self._permitted[connection]:
            source = self._at.outward(packet.source)
            self._tcp.send(connection, Message(DATA, source, inner=packet.message))


class TurnClient(Program):
    """One allocation.  What is sent waits for the permission of its destination.

    ``deliver`` takes what comes in for the relayed address; ``permitted`` is called
    when a permission was given.
    """

    def __init__(
        self, tcp: Tcp, deliver: Callable[[Packet], None], permitted: Callable[[], None]
    ) -> None:
        self._tcp = tcp
        self._deliver = deliver
        self._permitted = permitted
        self._tunnel: Connection | None = None
        self._allowed: set[str] = set()  # addresses
        self._held: dict[str, list[tuple[Place, Message]]] = {}
        self._settled = False
        self.relay: Place | None = None

    def settle(self) -> None:
        """From now on an allocation comes too late."""
        self._settled = True

    def allocate(self, server: Place) -> None:
        self._tcp.connect(CLIENT_PORT, server, self)

    def may_send(self, remote: Place) -> bool:
        """Whether there is a permission by now."""
        return remote.address in self._allowed

    def send(self, remote: Place, message: Message) -> None:
        if self._tunnel is None:
            return
        if self.may_send(remote):
            self._tcp.send(self._tunnel, Message(SEND, remote, inner=message))
            return
        held = self._held.setdefault(remote.address, [])
        held.append((remote, message))
        if len(held) == 1:
            self._tcp.send(self._tunnel, Message(PERMIT, remote))

    def opened(self, connection: Connection, _packet: Packet, /) -> None:
        self._tunnel = connection
        self._tcp.send(connection, Message(ALLOCATE))

    def received(self, connection: Connection, message: Message, /) -> None:
        endpoint = message.endpoint
        if message.name == CHALLENGE:
            self._tcp.send(connection, Message(ALLOCATE))
        if endpoint is None:
            return
        if message.name == ALLOCATED and not self._settled:
            self.relay = endpoint
        elif message.name == PERMITTED:
            self._allowed.add(endpoint.address)
            for remote, held in self._held.pop(endpoint.address, []):
                self.send(remote, held)
            self._permitted()
        elif message.name == DATA and self.relay is not None:
            inner = message.inner
            self._deliver(Packet(Protocol.UDP, endpoint, self.relay, Kind.DATAGRAM, "relay", inner))
