"""The oracle's QUIC waits over lossy links as the engine does whose rates it predicts."""

import heapq
from collections.abc import Callable
from functools import partial
from itertools import count

import pytest
from aioquic._buffer import Buffer
from aioquic.quic import events
from aioquic.quic.packet import pull_quic_header

from testbed.model.presets import preset
from testbed.model.topology import Impairment, Link
from testbed.nat.load import catalogue
from testbed.predict.dcutr_peer import Peer
from testbed.predict.fate import Direction
from testbed.predict.network import Network
from testbed.predict.public import Observer
from testbed.predict.quic import Quic
from testbed.traversal import PrivateKey, tls_certificate
from testbed.traversal.aio.quic_engine import Engine, configuration
from testbed.traversal.aio.quic_timers import QuicTimers

LOSSY = Link.both(delay_ms=60.0, jitter_ms=50.0, loss=0.1)
WORLDS, CONTACTS = 80, 5
END = 20.0  # seconds
FAR = "far", 1  # where each end thinks that the other one is
ASKS, ANSWER = b"m" * 36, (b"m" * 20, b"m" * 16, b"i" * 500, b"")  # identify, as it is written
TIMERS = QuicTimers()
CLIENT, SERVER = (
    configuration(tls_certificate.make(PrivateKey.from_seed(seed * 32)), TIMERS, client=client)
    for seed, client in ((b"c", True), (b"s", False))
)


class Clock:
    """Virtual time, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()

    def at(self, moment: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (moment, next(self._number), action))

    def run(self, end: float) -> None:
        while self._due and self._due[0][0] < end:
            self.now, _, action = heapq.heappop(self._due)
            action()


class Contact:
    """A real client and a real server, which ask each other who they are.

    ``ways`` are the links of what the client sends, and of what the server sends.
    """

    def __init__(self, clock: Clock, ways: tuple[list[Direction], list[Direction]]) -> None:
        self._clock, self._ways = clock, ways
        self._ends: dict[bool, Engine] = {True: Engine(configuration=CLIENT)}
        self._asked: set[tuple[bool, int]] = set()
        self._heard = 0
        self.told_at = END
        self._ends[True].connect(FAR, now=0.0)
        self._flush(True)

    def _flush(self, client: bool) -> None:
        end, now = self._ends[client], self._clock.now
        for data, _ in end.datagrams_to_send(now):
            self._forward(client, data, 0)
        timer = end.get_timer()
        if timer is not None:
            self._clock.at(max(timer, now + 0.001), partial(self._expire, client, timer))

    def _expire(self, client: bool, timer: float) -> None:
        if self._ends[client].get_timer() == timer:
            self._ends[client].handle_timer(self._clock.now)
            self._handle(client)

    def _forward(self, client: bool, data: bytes, hop: int) -> None:
        links = self._ways[0 if client else 1]
        if hop == len(links):
            self._receive(not client, data)
            return
        for moment in links[hop].arrivals(self._clock.now):
            self._clock.at(moment, partial(self._forward, client, data, hop + 1))

    def _receive(self, client: bool, data: bytes) -> None:
        if client not in self._ends:
            first = pull_quic_header(Buffer(data=data), host_cid_length=8).destination_cid
            self._ends[client] = Engine(
                configuration=SERVER, original_destination_connection_id=first
            )
        self._ends[client].receive_datagram(data, FAR, self._clock.now)
        self._handle(client)

    def _handle(self, client: bool) -> None:
        end = self._ends[client]
        while (event := end.next_event()) is not None:
            if isinstance(event, events.HandshakeCompleted):
                end.send_stream_data(end.get_next_available_stream_id(), ASKS)
            elif isinstance(event, events.StreamDataReceived):
                self._read(client, event.stream_id, len(event.data))
        self._flush(client)

    def _read(self, client: bool, stream: int, size: int) -> None:
        theirs = bool(stream % 2) is client
        if theirs and (client, stream) not in self._asked:
            self._asked.add((client, stream))
            for part in ANSWER:
                self._ends[client].send_stream_data(stream, part, end_stream=not part)
                self._flush(client)
        elif client and not theirs:
            self._heard += size
            if self._heard >= sum(map(len, ANSWER)):
                self.told_at = min(self.told_at, self._clock.now)


def by_engine(number: int) -> list[float]:
    """When one peer's public nodes have said what they are; all are met by one link of the peer."""
    clock, way = Clock(), LOSSY.up
    near = [Direction(way, f"{number}/{out}") for out in (True, False)]
    contacts = []
    for node in range(CONTACTS):
        far = [Direction(way, f"{number}/{node}/{out}") for out in (True, False)]
        contacts.append(Contact(clock, ([near[0], far[0]], [far[1], near[1]])))
    clock.run(END)
    return [contact.told_at for contact in contacts]


def by_model(number: int) -> list[float]:
    world = preset("libp2p", "linux-home", "linux-home", link=LOSSY)
    known = {r.name: catalogue()[r.profile].behaviour for r in world.routers}
    network = Network(world, known, str(number))
    nodes = [world.roles.relay, *world.observers]
    for node in nodes:
        Observer(Quic(network, node, world.port(node)), world.port(node), asked=True)
    peer = Peer(network, "a", Quic(network, "a", world.port("a")), leads=False)
    peer.meet(nodes[0], nodes[1:])
    network.run(END)
    assert len(peer._contacts) == CONTACTS
    return [one.told_at or END for one in peer._contacts]


def late(found: list[list[float]], seconds: float) -> float:
    """The share of contacts that were not told by then."""
    times = [one for world in found for one in world]
    return sum(one > seconds for one in times) / len(times)


@pytest.fixture(scope="module")
def times() -> tuple[list[list[float]], list[list[float]]]:
    numbers = range(WORLDS)
    return [by_engine(n) for n in numbers], [by_model(n) for n in numbers]


@pytest.mark.parametrize("seconds", [2.0, 4.0])
def test_as_many_wait_long_as_with_the_engine(
    times: tuple[list[list[float]], list[list[float]]], seconds: float
) -> None:
    """A model that waits for a measured round trip, where aioquic has none yet, is red here."""
    engine, model = (late(found, seconds) for found in times)
    assert model == pytest.approx(engine, abs=0.06)


def test_nothing_is_lost_of_a_link_without_loss() -> None:
    way = Impairment(delay_ms=60.0)
    clock = Clock()
    links = tuple([Direction(way, "") for _ in range(2)] for _ in range(2))
    contact = Contact(clock, (links[0], links[1]))
    clock.run(END)
    # Two round trips, and what aioquic says of its own accord 0.2 s after its start.
    assert contact.told_at == pytest.approx(0.48, abs=0.25)
