"""The sockets of the oracle's hosts: what they send, and when, without a mechanism around them."""

import pytest

from testbed.model.behaviour import Behaviour, Protocol
from testbed.model.presets import two_homes
from testbed.model.trace import Kind, Place
from testbed.nat.load import catalogue
from testbed.predict.network import Network
from testbed.predict.packet import Message, Packet
from testbed.predict.public import ASIDE, CIRCUIT, PING, RESERVE, Relay
from testbed.predict.punching import ACK, UDP_DEADLINE, UdpPeer
from testbed.predict.quic import INITIAL, Quic
from testbed.predict.tcp import Connection, Program, State, Tcp

OPEN = catalogue()["full-cone"].behaviour
SERVER = Place("server", 3478)


class Watched(Network):
    """A network that remembers what was sent, and when."""

    def __init__(self, behaviour: Behaviour = OPEN, seed: str | None = None) -> None:
        topology = two_homes("full-cone", "full-cone")
        super().__init__(topology, {"nat-a": behaviour, "nat-b": behaviour}, seed)
        self.sent: list[tuple[float, Packet]] = []

    def send(self, packet: Packet) -> None:
        self.sent.append((self.now, packet))
        super().send(packet)

    def times(self, host: str) -> list[float]:
        return [at for at, packet in self.sent if packet.source.address == host]


class Counting(Program):
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def opened(self, connection: Connection, _packet: Packet, /) -> None:
        self.connection = connection
        self.heard.append("opened")

    def received(self, _connection: Connection, message: Message, /) -> None:
        self.heard.append(message.name)

    def lost(self, _connection: Connection, /) -> None:
        self.heard.append("lost")


def test_an_initial_that_nobody_answers_is_sent_again_at_doubling_intervals() -> None:
    """RFC 9002 section 6.2: from 200 ms on, of an agent that assumes a round trip of 100 ms."""
    network = Watched()
    quic = Quic(network, "a", 4001)
    quic.connect(4001, SERVER, Program())
    network.run(60.0)
    assert network.times("a") == pytest.approx([0.0, 0.2, 0.6, 1.4, 3.0, 6.2])


def test_a_dial_that_was_given_up_sends_no_initial_any_more() -> None:
    network = Watched()
    quic = Quic(network, "a", 4001)
    quic.connect(4001, SERVER, Program())
    network.run(0.5)
    quic.abandon(4001, SERVER)
    network.run(60.0)
    assert network.times("a") == pytest.approx([0.0, 0.2])


def test_an_initial_that_is_answered_is_not_sent_again() -> None:
    network = Watched()
    Quic(network, "server", 3478).listen(3478, server := Counting())
    Quic(network, "a", 4001).connect(4001, SERVER, client := Counting())
    network.run(60.0)
    initials = [p for _, p in network.sent if p.message and p.message.name == INITIAL]
    assert len(initials) == 1
    assert (client.heard, server.heard) == (["opened"], ["opened"])


@pytest.mark.parametrize("seed", [None, "0"])
def test_an_aborted_quic_connection_ends_without_a_word(seed: str | None) -> None:
    network = Watched(seed=seed)
    Quic(network, "server", 3478).listen(3478, Counting())
    quic = Quic(network, "a", 4001)
    quic.connect(4001, SERVER, client := Counting())
    network.run(1.0)
    quic.send(client.connection, Message("never acknowledged"))
    quic.abort(client.connection)
    before = len(network.times("a"))
    network.run(60.0)
    assert len(network.times("a")) == before


def test_an_aborted_tcp_connection_ends_by_an_rst_of_which_the_other_end_is_told() -> None:
    """RFC 9293 section 3.10.5."""
    network = Watched(seed="0")
    Tcp(network, "server").listen(3478, server := Counting())
    tcp = Tcp(network, "a")
    client = Counting()
    tcp.connect(4001, SERVER, client)
    network.run(1.0)
    tcp.abort(client.connection)
    network.run(2.0)
    assert network.sent[-1][1].kind is Kind.RESET
    assert (client.heard, server.heard) == (["opened"], ["opened", "lost"])


class Losing(Watched):
    """Loses the packets of the given numbers, in the order in which they are sent."""

    def __init__(self, *lost: int) -> None:
        super().__init__(seed="0")
        self.lost_ones = lost

    def send(self, packet: Packet) -> None:
        if len(self.sent) in self.lost_ones:
            self.sent.append((self.now, packet))
        else:
            super().send(packet)


def test_a_syn_that_nobody_answers_is_sent_each_second_before_the_pauses_double() -> None:
    """Linux since 6.5, `net.ipv4.tcp_syn_linear_timeouts`."""
    network = Watched(seed="0")
    Tcp(network, "a").connect(4001, Place("nowhere", 1), Program())
    network.run(10.0)
    assert network.times("a") == pytest.approx([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0])


def repeated_after(*lost: int) -> float:
    """Seconds after which the client's first message is sent again; it is the last lost packet."""
    network = Losing(*lost)
    Tcp(network, "server").listen(3478, Counting())
    tcp = Tcp(network, "a")
    tcp.connect(4001, SERVER, one := Counting())
    network.run(1.5)
    assert one.heard == ["opened"]
    before = len(network.sent)
    network.lost_ones = (before,)
    tcp.send(one.connection, Message("lost"))
    network.run(60.0)
    times = [
        at
        for at, packet in network.sent[before:]
        if packet.carried and packet.carried.message and packet.source.address == "a"
    ]
    return times[1] - times[0]


def test_who_loses_a_syn_measures_the_round_trip_from_the_one_that_was_answered() -> None:
    """By the time stamp, RFC 7323 section 4.1."""
    assert repeated_after(0) == pytest.approx(repeated_after())


def test_who_loses_a_syn_ack_believes_in_a_long_round_trip() -> None:
    """Any SYN-ACK echoes the stamp of the first SYN that came (Linux); twice that, and 0.2 s."""
    assert repeated_after() < 0.5
    assert repeated_after(1) > 2 * 1.0


def test_a_connection_that_is_in_use_is_not_opened_twice() -> None:
    tcp = Tcp(Watched(), "a")
    assert tcp.connect(4001, SERVER, Program())
    assert not tcp.connect(4001, SERVER, Program())


class Line:
    """A carrier that has no network: what is sent is kept."""

    protocol = Protocol.TCP

    def __init__(self) -> None:
        self.said: list[tuple[Connection, str, int]] = []

    def listen(self, _port: int, _program: Program) -> None:
        pass

    def send(self, connection: Connection, message: Message) -> None:
        self.said.append((connection, message.name, message.transaction))


def client() -> Connection:
    return Connection(SERVER, Place("a", 4001), State.ESTABLISHED, False, Program(), "1")


@pytest.mark.parametrize(
    ("name", "step", "packets"),
    [(RESERVE, 0, 2), (RESERVE, PING, 1), (CIRCUIT, PING, 1)],
)
def test_a_relay_answers_its_own_steps_in_as_many_packets_as_they_take(
    name: str, step: int, packets: int
) -> None:
    line = Line()
    relay = Relay(line, 4001, asked=True)  # type: ignore[arg-type]
    one, other = client(), client()
    relay._clients = [one, other]
    relay.received(one, Message(name, transaction=step))
    assert [to for to, _, _ in line.said] == [one] * packets
    assert line.said[-1][1:] == (name, step + 1)


def test_a_relay_passes_all_other_steps_on_to_the_other_client() -> None:
    line = Line()
    relay = Relay(line, 4001, asked=True)  # type: ignore[arg-type]
    one, other = client(), client()
    relay._clients = [one, other]
    relay.received(one, Message(CIRCUIT, transaction=4))
    assert line.said == [(other, CIRCUIT, 4)]


def test_a_relay_tells_nobody_how_it_was_asked() -> None:
    line = Line()
    relay = Relay(line, 4001, asked=True)  # type: ignore[arg-type]
    relay._clients = [client(), client()]
    relay.received(relay._clients[0], Message(ASIDE))
    assert line.said == []


@pytest.mark.parametrize(
    ("source", "at", "connected"),
    [
        (Place("nat-b", 4001), 1.0, True),
        (Place("nat-b", 4002), 1.0, False),
        (Place("nat-b", 4001), UDP_DEADLINE + 0.1, False),
    ],
    ids=["in time", "from elsewhere", "too late"],
)
def test_an_ack_counts_that_comes_in_time_from_where_the_probe_went(
    source: Place, at: float, connected: bool
) -> None:
    network = Watched()
    one = UdpPeer(network, "a", 4001)
    one.punch(Place("nat-b", 4001), 0.0)
    network.run(at)
    ack = Message(ACK, transaction=0)
    packet = Packet(Protocol.UDP, source, Place("a", 4001), Kind.DATAGRAM, "b", ack)
    one._receive(packet)
    assert one.connected is connected
