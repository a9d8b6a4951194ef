"""Received bytes that nobody reads are held to a budget: of a connection, a peer, a node."""

import asyncio
import contextlib

import pytest

from testbed.traversal import Node, PeerId, PrivateKey, TraversalError
from testbed.traversal.aio.connection import Connection
from testbed.traversal.aio.host import HostLimits
from testbed.traversal.aio.stream import Stream
from testbed.traversal.memory import Memory, MemoryLimits

from .hostile import MIB, siege
from .nodes import address, nodes, run
from .test_nodes import echoed

pytestmark = pytest.mark.timeout(90)
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
HOLD = "/hold/1"
KIB = 1024


def peer() -> PeerId:
    return PeerId.from_public_key(PrivateKey.generate().public)


def holds(node: Node) -> None:
    """A handler that never reads."""

    async def hold(stream: Stream, connection: Connection) -> None:
        del stream
        await connection.wait_closed()

    node.set_handler(HOLD, hold)


async def fill(node: Node, connection: Connection, size: int) -> None:
    """Write to a stream until it is refused."""
    stream = await node.host.open_stream(connection, [HOLD])
    with contextlib.suppress(TraversalError):
        await stream.write(bytes(size))
    with pytest.raises(TraversalError):
        await stream.read()


def test_each_of_the_three_limits_refuses_by_itself_and_what_is_given_back_counts_no_more() -> None:
    memory = Memory(MemoryLimits(connection=10, peer=15, node=20))
    one, two = peer(), peer()
    first, second, other = memory.account(one), memory.account(one), memory.account(two)
    assert first.take(10)
    assert not first.take(1)
    assert second.take(5)
    assert not second.take(1)
    assert other.take(5)
    assert not other.take(1)
    first.close()
    first.give(10)
    assert other.take(5)
    assert memory.held == 15


@BOTH
def test_streams_that_nobody_reads_pin_no_more_than_the_connections_budget(transport: str) -> None:
    async def work() -> None:
        limits = HostLimits(memory=MemoryLimits(connection=256 * KIB))
        async with siege(transport, 16, limits=limits) as (evil, target):
            holds(target)
            connection = await evil.dial(address(target))
            filling = [asyncio.ensure_future(fill(evil, connection, 100 * KIB)) for _ in range(14)]
            for _, refused in zip(range(10), asyncio.as_completed(filling), strict=False):
                await refused
            [seen] = target.host.connections_to(evil.peer)
            assert 0 < seen.account.held == target.host.memory.held <= 256 * KIB
            for task in filling:
                task.cancel()
            await asyncio.gather(*filling, return_exceptions=True)
            connection.abort("enough")
            await seen.wait_closed()
            assert target.host.memory.held == 0

    run(work, 60)


@BOTH
def test_what_is_read_is_given_back(transport: str) -> None:
    async def work() -> None:
        limits = HostLimits(memory=MemoryLimits(connection=600 * KIB))
        async with nodes(transport, {}, {"limits": limits}) as (a, b):
            await a.dial(address(b))
            for _ in range(4):
                assert len(await echoed(a, b.peer, bytes(MIB // 2))) == MIB // 2
            assert b.host.memory.held < KIB

    run(work, 40)


# What waits for the remote


def gushes(node: Node) -> None:
    """A handler that writes without end."""

    async def gush(stream: Stream, connection: Connection) -> None:
        del connection
        while True:
            await stream.write(bytes(64 * KIB))

    node.set_handler(HOLD, gush)


@BOTH
def test_readers_that_read_nothing_make_a_server_hold_its_budget_and_no_more(
    transport: str,
) -> None:
    """Before, each stream of a stranger could have 256 KiB wait in our memory."""

    async def work() -> None:
        limits = HostLimits(sending=MemoryLimits(512 * KIB, 768 * KIB, 2 * MIB))
        async with siege(transport, 32, limits=limits) as (evil, target):
            gushes(target)
            for _ in range(2):
                connection = await evil.host.dial_direct(
                    address(target).without_peer(), target.peer, 5, fresh=True
                )
                for _ in range(20):
                    await evil.host.open_lazily(connection, HOLD)
            peak = 0
            for _ in range(100):
                await asyncio.sleep(0.01)
                peak = max(peak, target.host.sending.held)
            assert 0 < peak <= 768 * KIB + limits.sending.assured
            for connection in target.host.connections:
                connection.abort("enough")
            assert target.host.sending.held == 0

    run(work, 60)


@BOTH
def test_who_reads_gets_on_beside_those_who_hold_the_whole_budget(transport: str) -> None:
    async def work() -> None:
        limits = HostLimits(sending=MemoryLimits(256 * KIB, 256 * KIB, 256 * KIB))
        async with nodes(transport, {}, {"limits": limits}, {}) as (evil, target, honest):
            gushes(target)
            connection = await evil.dial(address(target))
            for _ in range(8):
                await evil.host.open_lazily(connection, HOLD)
            await asyncio.sleep(0.5)
            await honest.dial(address(target))
            assert len(await echoed(honest, target.peer, bytes(MIB))) == MIB

    run(work, 60)


# Connections that nobody uses


def test_idle_connections_give_way_and_those_in_use_or_kept_do_not() -> None:
    async def work() -> None:
        limits = HostLimits(connections=16, trim_from=12, trim_to=4, trim_grace=0.3)
        async with nodes("tcp", {"limits": limits}, *[{}] * 14) as (hub, *others):
            holds(hub)
            used, kept, *idle = others
            await used.dial(address(hub))
            await used.open_stream(hub.peer, [HOLD])
            await kept.dial(address(hub))
            hub.host.kept.add(kept.peer)
            for node in idle[:10]:
                await node.dial(address(hub))
            await asyncio.sleep(0.5)
            await idle[10].dial(address(hub))
            left = {c.peer for c in hub.host.connections}
            assert {used.peer, kept.peer, idle[10].peer} <= left
            assert len(left) == 5

    run(work)
