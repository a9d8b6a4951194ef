"""Resumable streams and kept peers: what is written arrives whole, whatever paths do."""

import asyncio
import hashlib
import os

import pytest

from testbed.traversal import Node, RelayLimits
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.resumable import ResumableStream, ResumeOptions
from testbed.traversal.aio.upgrade_service import UpgradeOptions
from testbed.traversal.errors import ConnectionClosedError, NegotiationError, TraversalError
from testbed.traversal.events import PeerBack, PeerLost

from .nodes import address, nodes, run, wait_event
from .slow_link import slow_link

pytestmark = pytest.mark.timeout(90)
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
PUT = "/put/1"
STAY = {"upgrade": UpgradeOptions(enabled=False)}


def receives(node: Node) -> asyncio.Future[bytes]:
    """All that comes on the first resumable stream; its digest is sent back."""
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def receive(stream: ResumableStream, connection: Connection) -> None:
        del connection
        data = bytearray()
        while part := await stream.read():
            data += part
        await stream.write(hashlib.sha256(data).digest())
        got.set_result(bytes(data))

    node.set_resumable_handler(PUT, receive)
    return got


async def put(stream: ResumableStream, data: bytes) -> None:
    """Write it all; the receiver's digest says that it has arrived."""
    for start in range(0, len(data), 65536):
        await stream.write(data[start : start + 65536])
    stream.close_write()
    answer = bytearray()
    while part := await stream.read():
        answer += part
    assert bytes(answer) == hashlib.sha256(data).digest()
    await stream.wait_closed()


@BOTH
def test_a_stream_arrives_whole_though_its_connections_die_again_and_again(transport: str) -> None:
    async def work() -> None:
        data = os.urandom(6 * 2**20)
        async with nodes(transport, {}, {}) as (a, b):
            got = receives(b)
            await a.dial(address(b))
            stream = await a.open_resumable(b.peer, PUT)
            putting = asyncio.ensure_future(put(stream, data))
            for number in range(6):
                before = stream.core.acknowledged
                while stream.core.acknowledged < before + 2**19 and not putting.done():
                    await asyncio.sleep(0.005)
                end = (a, b)[number % 2].host.connections_to((b, a)[number % 2].peer)
                for connection in end:
                    connection.abort("a test cuts it")
            await putting
            assert await got == data
            assert stream.paths > 1

    run(work, 60)


@BOTH
def test_a_stream_that_begins_relayed_moves_to_the_direct_path(transport: str) -> None:
    """The relay would cut it at 128 KiB."""

    async def work() -> None:
        data = os.urandom(2 * 2**20)
        async with nodes(transport, {"relay": RelayLimits()}, {}, {}) as (hub, a, b):
            got = receives(b)
            held = await b.reserve(address(hub))
            assert (await a.dial(held.addresses[0])).relayed
            stream = await a.open_resumable(b.peer, PUT)
            assert stream.connection is not None
            begun_relayed = stream.connection.relayed
            await put(stream, data)
            assert await got == data
            assert begun_relayed
            assert stream.paths >= 2

    run(work, 60)


@BOTH
def test_a_stream_leaves_a_limited_circuit_what_its_upgrade_needs(transport: str) -> None:
    """Else the relay cuts the circuit before the punch is through, each time anew."""

    async def work() -> None:
        slow = {"upgrade": UpgradeOptions(enabled=False)}
        async with nodes(transport, {"relay": RelayLimits()}, slow, slow) as (hub, a, b):
            got = receives(b)
            data = os.urandom(2**20)
            held = await b.reserve(address(hub))
            relayed = await a.dial(held.addresses[0])
            stream = await a.open_resumable(b.peer, PUT)
            putting = asyncio.ensure_future(put(stream, data))
            await asyncio.sleep(2)
            assert relayed.usable
            assert 0 < stream.core.acknowledged <= RelayLimits().data // 4
            await a.dial(address(b))
            await putting
            assert await got == data

    run(work, 60)


def test_a_stream_that_stays_relayed_goes_on_over_one_limited_circuit_after_the_other() -> None:
    async def work() -> None:
        data = os.urandom(300 * 1024)
        stay = STAY | {"resume": ResumeOptions(limited_patience=0.3)}
        async with nodes("tcp", {"relay": RelayLimits()}, stay, stay) as (hub, a, b):
            got = receives(b)
            held = await b.reserve(address(hub))
            await a.dial(held.addresses[0])
            await put(await a.open_resumable(b.peer, PUT), data)
            assert await got == data

    run(work, 60)


def test_a_lost_peer_is_found_again_by_another_relay_and_goes_direct_again() -> None:
    async def work() -> None:
        relay = {"relay": RelayLimits()}
        async with nodes("quic", relay, relay, {}, {}) as (one, two, a, b):
            got = receives(b)
            circuits = [(await b.reserve(address(hub))).addresses[0] for hub in (one, two)]
            await a.dial(*circuits)
            stream = await a.open_resumable(b.peer, PUT)
            await a.wait_direct(b.peer, 10)
            putting = asyncio.ensure_future(put(stream, os.urandom(2**20)))
            await one.close()
            for connection in a.host.connections_to(b.peer):
                connection.abort("the path is gone")
            lost = await wait_event(a, PeerLost)
            assert lost.peer == b.peer
            await wait_event(a, PeerBack, lambda e: e.at >= lost.at)
            await a.wait_direct(b.peer, 10)
            await putting
            assert len(await got) == 2**20

    run(work, 60)


@BOTH
def test_a_dead_path_costs_a_resumable_stream_seconds_and_no_byte(transport: str) -> None:
    async def work() -> None:
        data = os.urandom(2**20)
        async with nodes(transport, {}, {}) as (a, b), slow_link(address(b)) as through:
            got = receives(b)
            await a.dial(through.address)
            a.peers.remember(b.peer, [address(b)])
            stream = await a.open_resumable(b.peer, PUT)
            await stream.write(data[:1000])
            await asyncio.sleep(0.2)
            through.stall()
            from testbed.traversal.aio.tcp import TcpPipe

            honest = TcpPipe.silent_for
            TcpPipe.silent_for = lambda self: None  # type: ignore[method-assign]  # noqa: ARG005
            try:
                async with asyncio.timeout(15):
                    await put_rest(stream, data)
            finally:
                TcpPipe.silent_for = honest  # type: ignore[method-assign]
            assert await got == data

    async def put_rest(stream: ResumableStream, data: bytes) -> None:
        await stream.write(data[1000:])
        stream.close_write()
        await stream.wait_closed()

    run(work, 60)


@BOTH
def test_a_node_that_closes_after_its_stream_leaves_nobody_waiting(transport: str) -> None:
    """Found in a lab: the sender had its answer and went, and the receiver waited for a minute."""

    async def work() -> None:
        async with nodes(transport, {}, {}) as (a, b):
            ended = asyncio.Event()

            async def answer(stream: ResumableStream, connection: Connection) -> None:
                del connection
                await stream.read()
                await stream.write(b"an answer")
                stream.close_write()
                await stream.wait_closed()
                ended.set()

            b.set_resumable_handler(PUT, answer)
            await a.dial(address(b))
            stream = await a.open_resumable(b.peer, PUT)
            await stream.write(b"a question")
            assert await stream.read() == b"an answer"
            await stream.close()
            await a.close()
            async with asyncio.timeout(3):
                await ended.wait()

    run(work)


def test_a_protocol_that_nobody_serves_resumably_is_refused() -> None:
    async def work() -> None:
        async with nodes("tcp", {}, {}) as (a, b):
            await a.dial(address(b))
            with pytest.raises(NegotiationError):
                await a.open_resumable(b.peer, "/nobody/1")

    run(work)


def test_a_peer_that_does_not_come_back_ends_the_stream_with_an_error_at_both_ends() -> None:
    async def work() -> None:
        options = {"resume": ResumeOptions(patience=2.0)}
        async with nodes("tcp", options, options) as (a, b):
            got = receives(b)
            served: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

            async def handler(stream: ResumableStream, connection: Connection) -> None:
                del connection
                try:
                    while await stream.read():
                        pass
                except TraversalError as error:
                    served.set_result(error)

            b.set_resumable_handler(PUT, handler)
            await a.dial(address(b))
            stream = await a.open_resumable(b.peer, PUT)
            await stream.write(b"the last words")
            await asyncio.sleep(0.2)
            a.peers.release(b.peer)
            a.peers._known.clear()
            for connection in a.host.connections_to(b.peer):
                connection.abort("for ever")
            with pytest.raises(ConnectionClosedError):
                await stream.read()
            assert isinstance(await served, ConnectionClosedError)
            assert not got.done()

    run(work, 30)


def test_sessions_of_one_peer_are_limited() -> None:
    async def work() -> None:
        options = {"resume": ResumeOptions(sessions_per_peer=2)}
        async with nodes("tcp", {}, options) as (a, b):

            async def wait(stream: ResumableStream, connection: Connection) -> None:
                await connection.wait_closed()
                del stream

            b.set_resumable_handler(PUT, wait)
            await a.dial(address(b))
            for _ in range(2):
                await a.open_resumable(b.peer, PUT)
            with pytest.raises(TraversalError, match="too many"):
                await a.open_resumable(b.peer, PUT)

    run(work)
