"""Connections whose ends move or fall silent: what is believed of them afterwards."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from testbed.traversal import Multiaddr, Node, RelayLimits
from testbed.traversal.aio.upgrade_service import UpgradeOptions
from testbed.traversal.events import ConnectionMoved, Identified, PunchStep, UpgradeFailed

from .nodes import address, nodes, run, wait_event

pytestmark = pytest.mark.timeout(60)
LOCALHOST = "127.0.0.1"


class _Port(asyncio.DatagramProtocol):
    def __init__(self, pass_on: Callable[[bytes, Any], None]) -> None:
        self._pass_on = pass_on
        self.transport: asyncio.DatagramTransport | None = None

    @classmethod
    async def open(cls, pass_on: Callable[[bytes, Any], None]) -> "_Port":
        loop = asyncio.get_running_loop()
        _, port = await loop.create_datagram_endpoint(
            lambda: cls(pass_on), local_addr=(LOCALHOST, 0)
        )
        return port

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._pass_on(data, addr)

    @property
    def number(self) -> int:
        assert self.transport is not None
        return int(self.transport.get_extra_info("sockname")[1])

    def send(self, data: bytes, target: Any) -> None:
        if self.transport is not None:
            self.transport.sendto(data, target)

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


class Nat:
    """A NAT of one flow of datagrams to `target`, which can give it another port."""

    def __init__(self, target: Multiaddr) -> None:
        self._target = target.socket_address
        self._client: Any = None
        self.inside: _Port
        self.outside: _Port

    async def __aenter__(self) -> "Nat":
        self.inside = await _Port.open(self._out)
        self.outside = await _Port.open(self._in)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.inside.close()
        self.outside.close()

    async def rebind(self) -> None:
        """Another port from now on; nothing comes in by the old one any more."""
        old, self.outside = self.outside, await _Port.open(self._in)
        old.close()

    def _out(self, data: bytes, source: Any) -> None:
        self._client = source
        self.outside.send(data, self._target)

    def _in(self, data: bytes, _: Any) -> None:
        self.inside.send(data, self._client)


class Wire:
    """A TCP wire that can be cut: nobody hears of it, nothing passes any more."""

    def __init__(self) -> None:
        self.cut = False
        self._ends: list[asyncio.StreamWriter] = []

    @contextlib.asynccontextmanager
    async def to(self, server: tuple[str, int]) -> AsyncIterator[int]:
        """The port by which it leads there."""

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            back, forth = await asyncio.open_connection(*server)
            self._ends += (writer, forth)
            await asyncio.gather(self._pass(reader, forth), self._pass(back, writer))

        serving = await asyncio.start_server(carry, LOCALHOST, 0)
        try:
            yield serving.sockets[0].getsockname()[1]
        finally:
            serving.close()
            for end in self._ends:
                end.close()
                with contextlib.suppress(ConnectionError):
                    await end.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if not self.cut:
                    writer.write(data)


def test_a_relay_that_follows_a_migration_tells_where_it_sees_the_peer_now() -> None:
    async def work() -> None:
        async with (
            nodes("quic", {"relay": RelayLimits()}, {}) as (hub, a),
            Nat(address(hub)) as nat,
        ):
            way = f"/ip4/{LOCALHOST}/udp/{nat.inside.number}/quic-v1/p2p/{hub.peer}"
            connection = await a.dial(way)
            await a.identify.wait(connection)
            await wait_event(hub, Identified)
            before = nat.outside.number
            assert _seen(a, hub) == before
            await nat.rebind()
            after = nat.outside.number
            assert after != before
            await a.ping(hub.peer)
            assert (await wait_event(hub, ConnectionMoved)).remote.port == after
            await wait_event(a, Identified, lambda e: e.observed.port == after)
            assert _seen(a, hub) == after
            assert not connection.closed

    run(work)


def test_a_connection_is_as_old_as_its_handshake_and_not_as_its_dial() -> None:
    """Else a dial that a punch helped in after a while looks older than the circuit."""

    async def work() -> None:
        async with nodes("quic", {}, {}) as (hub, a), Nat(address(hub)) as nat:
            loop, passes = asyncio.get_running_loop(), nat._out
            opens = loop.time() + 0.3

            def late(data: bytes, source: Any) -> None:
                if loop.time() >= opens:
                    passes(data, source)

            nat.inside._pass_on = late
            way = f"/ip4/{LOCALHOST}/udp/{nat.inside.number}/quic-v1/p2p/{hub.peer}"
            assert (await a.dial(way)).opened_at >= opens

    run(work)


def _seen(node: Node, observer: Node) -> int | None:
    observed = node.identify.peers[observer.peer].observed
    return observed.port if observed is not None else None


def test_a_connection_that_stays_is_not_told_to_have_moved() -> None:
    async def work() -> None:
        async with nodes("quic", {}, {}) as (hub, a):
            await a.identify.wait(await a.dial(address(hub)))
            for _ in range(3):
                await a.ping(hub.peer)
            told = [e async for e in _history(hub)]
            assert told
            assert not any(isinstance(e, ConnectionMoved) for e in told)

    run(work)


async def _history(node: Node) -> AsyncIterator[Any]:
    """What it has told so far."""
    last = ConnectionMoved(node.peer, node.listening()[0])
    node.host.emit(last)
    async for event in node.events():
        if event is last:
            return
        yield event


@pytest.mark.parametrize("reversal", [3.0, 0.0])
def test_a_listener_that_believes_in_a_dead_connection_leads_the_upgrade_of_the_next(
    reversal: float,
) -> None:
    upgrade = UpgradeOptions(proof_timeout=0.5, reversal_timeout=reversal)

    async def work() -> None:
        options = {"upgrade": upgrade}
        async with nodes("tcp", {"relay": RelayLimits()}, options, options) as (hub, a, b):
            held = await b.reserve(address(hub))
            wire = Wire()
            async with wire.to(address(b).socket_address) as port:
                dead = await a.dial(f"/ip4/{LOCALHOST}/tcp/{port}/p2p/{b.peer}")
                await b.host.wait_connection(a.peer, 5)
                believed = b.host.connections_to(a.peer)[0]
                wire.cut = True
                dead.abort("nothing comes any more")
                assert not believed.closed
                await a.dial(held.addresses[0])
                direct = await a.wait_direct(b.peer, 10)
                assert await a.ping(b.peer) < 5
                assert believed.closed
                assert not direct.closed

    run(work)


def test_a_listener_whose_direct_connection_answers_leads_no_upgrade() -> None:
    """A relayed connection beside it changes nothing."""

    async def work() -> None:
        options = {"upgrade": UpgradeOptions(proof_timeout=0.5)}
        async with nodes("tcp", {"relay": RelayLimits()}, options, options) as (hub, a, b):
            held = await b.reserve(address(hub))
            direct = await a.dial(address(b))
            await b.host.wait_connection(a.peer, 5)
            through = await a.dial(address(hub))
            await a.identify.wait(through)
            await a.relays.dial(through, b.peer, 5)
            assert held.addresses
            await asyncio.sleep(1.0)  # longer than the proof may take
            assert not direct.closed
            told = [e async for e in _history(b)]
            assert not any(isinstance(e, PunchStep | UpgradeFailed) for e in told)
            assert len(b.host.connections_to(a.peer, relayed=False)) == 1

    run(work)
