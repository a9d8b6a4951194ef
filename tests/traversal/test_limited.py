"""A relayed connection has the limit that its relay told; streams of users wait for direct ones."""

import asyncio
import os

import pytest

from testbed.traversal import RelayLimits, relay
from testbed.traversal.aio.upgrade_service import UpgradeOptions
from testbed.traversal.errors import LimitedConnectionError
from testbed.traversal.events import ConnectionOpened

from .nodes import address, nodes, run, wait_event
from .test_closing import GIVE, takes

pytestmark = pytest.mark.timeout(60)
BOTH = pytest.mark.parametrize("transport", ["tcp", "quic"])
RELAY = {"relay": RelayLimits()}
STAY = {"upgrade": UpgradeOptions(enabled=False), "direct_patience": 0.5}


@BOTH
def test_a_megabyte_arrives_where_the_dial_was_by_a_circuit_of_128_kib(transport: str) -> None:
    """The documented flow, with a relay's own limits: the stream waits for the upgrade."""

    async def work() -> None:
        data = os.urandom(2**20)
        async with nodes(transport, RELAY, {}, {}) as (hub, a, b):
            taken = takes(b)
            held = await b.reserve(address(hub))
            connection = await a.dial(held.addresses[0])
            stream = await a.open_stream(connection.peer, [GIVE])
            await stream.write(data)
            await stream.close()
            assert await taken == data

    run(work, 40)


@BOTH
def test_both_ends_of_a_circuit_know_and_tell_its_limit(transport: str) -> None:
    async def work() -> None:
        async with nodes(transport, RELAY, STAY, STAY) as (hub, a, b):
            held = await b.reserve(address(hub))
            connection = await a.dial(held.addresses[0])
            other = await b.host.wait_connection(a.peer, 5)
            assert connection.limit == other.limit == relay.Limit(120, 128 * 1024)
            for node in (a, b):
                opened = await wait_event(node, ConnectionOpened, lambda e: e.relayed)
                assert opened.to_dict()["limit"] == {"duration": 120, "data": 128 * 1024}

    run(work)


def test_a_stream_is_not_opened_on_a_limited_connection_unless_it_says_so() -> None:
    async def work() -> None:
        async with nodes("tcp", RELAY, STAY, STAY) as (hub, a, b):
            taken = takes(b)
            held = await b.reserve(address(hub))
            await a.dial(held.addresses[0])
            with pytest.raises(LimitedConnectionError):
                await a.open_stream(b.peer, [GIVE])
            stream = await a.open_stream(b.peer, [GIVE], allow_limited=True)
            await stream.write(b"short")
            await stream.close()
            assert await taken == b"short"

    run(work)


def test_a_circuit_without_a_limit_carries_any_stream_at_once() -> None:
    async def work() -> None:
        free = {"relay": RelayLimits(duration=0, data=0)}
        async with nodes("tcp", free, STAY, STAY) as (hub, a, b):
            taken = takes(b)
            held = await b.reserve(address(hub))
            connection = await a.dial(held.addresses[0])
            assert connection.limit is None
            stream = await a.open_stream(b.peer, [GIVE])
            await stream.close()
            assert await taken == b""

    run(work)


def test_a_stream_that_waits_takes_the_direct_connection_that_comes() -> None:
    async def work() -> None:
        stay = STAY | {"direct_patience": 10.0}
        async with nodes("tcp", RELAY, stay, stay) as (hub, a, b):
            takes(b)
            held = await b.reserve(address(hub))
            await a.dial(held.addresses[0])
            opening = asyncio.ensure_future(a.open_stream(b.peer, [GIVE]))
            direct = await a.dial(address(b))
            stream = await opening
            assert stream in direct.streams

    run(work)
