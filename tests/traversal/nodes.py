"""Nodes on loopback, for tests in one process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from testbed.traversal import Multiaddr, Node, NodeOptions, RelayLimits
from testbed.traversal.__main__ import ECHO, echo
from testbed.traversal.aio.rent_client import Rent
from testbed.traversal.aio.rent_server import RentOut
from testbed.traversal.events import Event

LISTEN = {
    "tcp": "/ip4/127.0.0.1/tcp/0",
    "quic": "/ip4/127.0.0.1/udp/0/quic-v1",
    "ws": "/ip4/127.0.0.1/tcp/0/ws",
    "wss": "/ip4/127.0.0.1/tcp/0/tls/ws",
}

RENTS = pytest.mark.parametrize("rents", [False, True], ids=["plain", "rents"])


def rented(words: dict[str, Any], rents: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of a relay and of a peer of ours: both know rent, or neither does."""
    hub = words | {"relay": RelayLimits()}
    return (hub | {"rent_out": RentOut()}, words | {"rent": Rent(1000)}) if rents else (hub, words)


@contextlib.asynccontextmanager
async def nodes(transport: str, *options: dict[str, Any]) -> AsyncIterator[list[Node]]:
    """Listening nodes with an echo handler; private addresses count as public."""
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for words in options:
            plain = {"allow_private": True, "autonat_interval": 0} | words
            node = await stack.enter_async_context(Node(NodeOptions(**plain)))
            node.set_handler(ECHO, echo)
            await node.listen(LISTEN[transport])
            made.append(node)
        yield made


def address(node: Node) -> Multiaddr:
    return node.listening()[0].with_peer(node.peer)


async def wait_event(
    node: Node, kind: type[Event], check: Callable[[Any], bool] | None = None
) -> Any:
    """The first such event, past or to come."""
    async for event in node.events():
        if isinstance(event, kind) and (check is None or check(event)):
            return event
    raise AssertionError(f"the node closed without {kind.__name__}")


def run(work: Callable[[], Awaitable[None]], seconds: float = 20.0) -> None:
    """Run a test's coroutine against a deadline."""

    async def limited() -> None:
        async with asyncio.timeout(seconds):
            await work()

    asyncio.run(limited())
