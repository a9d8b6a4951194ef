"""The UDP socket under QUIC: batches in, order out, and loops that watch no sockets."""

import asyncio
import select
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.traversal.aio import packet_info, udp
from testbed.traversal.aio.packet_info import PacketInfo
from testbed.traversal.aio.quic_connection import QuicPeer

from .nodes import address, nodes, run
from .test_nodes import echoed

ANY = ("127.0.0.1", 0)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        for sock in (one, two):
            sock.bind(ANY)
            sock.setblocking(False)
        yield one, two


def test_what_came_together_is_given_together_and_in_order(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    async def work() -> None:
        ours, theirs = pair
        batches: list[udp.Datagrams] = []
        carrier = await udp.open_carrier(ours, batches.append)
        for number in range(udp._BATCH + 10):
            theirs.sendto(bytes([number]), carrier.name)
        while sum(map(len, batches)) < udp._BATCH + 10:
            await asyncio.sleep(0)
        assert [len(batch) for batch in batches] == [udp._BATCH, 10]
        assert [data[0] for batch in batches for data, _ in batch] == [*range(udp._BATCH + 10)]
        assert {source for batch in batches for _, source in batch} == {theirs.getsockname()}
        carrier.close()

    run(work)


class _Full:
    """A socket whose kernel has no room at first."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.full, self.sent = True, list[bytes]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendto(self, data: bytes, _to: Any) -> None:
        if self.full:
            raise BlockingIOError
        self.sent.append(data)


def test_what_the_kernel_has_no_room_for_waits_and_keeps_its_order(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    async def work() -> None:
        full = _Full(pair[0])
        carrier = udp.UdpSocket(full, lambda _: None)  # type: ignore[arg-type]
        for number in range(5):
            carrier.sendto(bytes([number]), ("127.0.0.1", 9))
        await asyncio.sleep(0.01)
        assert not full.sent
        full.full = False
        carrier.sendto(b"\x05", ("127.0.0.1", 9))  # behind those that wait
        while len(full.sent) < 6:
            await asyncio.sleep(0)
        assert full.sent == [bytes([n]) for n in range(6)]
        carrier.close()
        carrier.sendto(b"late", ("127.0.0.1", 9))

    run(work)


def test_where_the_loop_watches_no_sockets_its_own_transport_carries(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, whose default loop raises NotImplementedError."""

    async def work() -> None:
        def refuse(*_: Any) -> None:
            raise NotImplementedError

        loop = asyncio.get_running_loop()
        got: asyncio.Future[udp.Datagrams] = loop.create_future()
        with monkeypatch.context() as patch:
            patch.setattr(loop, "add_reader", refuse)
            carrier = await udp.open_carrier(pair[0], got.set_result)
        pair[1].sendto(b"in", carrier.name)
        assert await got == [(b"in", pair[1].getsockname())]
        carrier.sendto(b"out", pair[1].getsockname())
        assert await loop.sock_recv(pair[1], 10) == b"out"
        carrier.close()

    run(work)


def test_a_connection_answers_a_batch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    received, settled = 0, 0
    receive, settle = QuicPeer.receive, QuicPeer.settle

    def counted_receive(self: QuicPeer, data: bytes, source: Any, now: float) -> None:
        nonlocal received
        received += 1
        receive(self, data, source, now)

    def counted_settle(self: QuicPeer) -> None:
        nonlocal settled
        settled += 1
        settle(self)

    monkeypatch.setattr(QuicPeer, "receive", counted_receive)
    monkeypatch.setattr(QuicPeer, "settle", counted_settle)

    async def work() -> None:
        async with nodes("quic", {}, {}) as (one, two):
            await one.dial(address(two))
            data = bytes(2**20)
            assert await echoed(one, two.peer, data) == data

    run(work, 60)
    assert received > 1000
    assert settled < received / 2


# From which address (aio/packet_info.py).

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


@LINUX
@pytest.mark.parametrize("asked", ["127.0.0.1", "127.0.0.2", "127.9.9.9"])
def test_a_wildcard_answers_from_the_address_that_was_asked(
    pair: tuple[socket.socket, socket.socket], asked: str
) -> None:
    async def work() -> None:
        _, theirs = pair
        ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        ours.setblocking(False)
        ours.bind(("0.0.0.0", 0))
        carrier: udp.Carrier

        def answer(batch: udp.Datagrams) -> None:
            for data, source in batch:
                carrier.sendto(data, source)

        carrier = await udp.open_carrier(ours, answer)
        loop = asyncio.get_running_loop()
        for _ in range(3):  # learned, then known
            theirs.sendto(b"?", (asked, carrier.name[1]))
            assert await loop.sock_recvfrom(theirs, 9) == (b"?", (asked, carrier.name[1]))
        carrier.close()

    run(work)


@LINUX
def test_an_address_that_is_ours_no_more_is_given_up(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    _, theirs = pair
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("0.0.0.0", 0))
        info = PacketInfo.of(ours)
        assert info is not None
        info._learn(theirs.getsockname(), bytes((29, 0, 0, 1)))
        info.send(ours, b"!", theirs.getsockname())
        select.select([theirs], [], [], 5)
        assert theirs.recvfrom(9) == (b"!", ("127.0.0.1", ours.getsockname()[1]))
        assert not info._known


@LINUX
def test_few_remotes_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet_info, "_MAX_KNOWN", 3)
    info = PacketInfo(4)
    for number in range(9):
        info._learn(("127.0.0.1", number), bytes((127, 0, 0, 1)))
    assert [port for _, port in info._known] == [6, 7, 8]


def test_a_socket_with_an_address_has_nothing_to_choose(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    assert PacketInfo.of(pair[0]) is None


@LINUX
def test_quic_is_dialed_at_any_address_of_a_wildcard() -> None:
    async def work() -> None:
        async with nodes("quic", {}, {}) as (a, b):
            bound = await b.listen("/ip4/0.0.0.0/udp/0/quic-v1")
            connection = await a.dial(f"/ip4/127.0.0.2/udp/{bound.port}/quic-v1/p2p/{b.peer}")
            assert str(connection.remote.ip) == "127.0.0.2"
            assert await echoed(a, b.peer, bytes(100_000)) == bytes(100_000)

    run(work)
